"""What waits in host memory so that a run fits: chosen by the time that each way takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ..sampling.scratch import recorded_bytes
from .needs import Counts
from .parts import Parts
from .placement import FREE, NONE, Fixed, MemoryPlan, Peaks, Placement, Speed, Stage
from .request import Allowance

TILE = 32
"""Latent pixels of a tile, where the decoder works in tiles."""
SPARE = 0.03
"""Of the memory, left to the pieces between what is allocated."""
LOWERED = 0.94
"""Of what was foreseen of a stage that ran out of memory, allowed to it the next time."""


class MemoryPlanner:
    """Chooses a placement for one request.

    Args:
        fixed: what somebody else has decided.
        ceilings: bytes that a stage may take at most, where it was seen to fail with more.
    """

    def __init__(self, parts: Parts, counts: Counts, speed: Speed, fixed: Fixed = FREE,
                 ceilings: Mapping[Stage, int] = NONE) -> None:
        self.parts, self.counts, self.speed, self.fixed = parts, counts, speed, fixed
        self._ceilings = ceilings

    def choose(self, allowance: Allowance, available: int) -> MemoryPlan:
        """The quickest placement that fits and is allowed; if none fits, the smallest, which says
        so.

        Args:
            available: bytes that may be used, those of this pipeline's own tensors included.
        """
        exact = [Placement()]
        rounded = [Placement(narrow_cache=c, narrow_weights=w)
                   for c in (False, True) for w in (False, True) if c or w]
        tiled = [replace(p, tile=TILE) for p in (*exact, *rounded)]
        steps = {"exact": [exact], "8-bit": [exact + rounded, tiled],
                 "auto": [exact, rounded, tiled]}[allowance.means]
        smallest: MemoryPlan | None = None
        for step in steps:
            best: MemoryPlan | None = None
            # What ran out of memory may fit again: no reason to round weights for good.
            held = smallest is not None and smallest.peak <= available * (1 - SPARE)
            for kind in filter(self._allowed, step):
                if held and kind.narrow_weights:
                    continue
                for images in self._images():
                    found = self._quickest(replace(kind, images=images), available)
                    if found.fits and (best is None or found.seconds < best.seconds):
                        best = found
                    if smallest is None or self._excess(found) < self._excess(smallest):
                        smallest = found
            if best is not None:
                return best
            if smallest is not None and self._lowers(smallest):
                return smallest
        assert smallest is not None
        return smallest

    def foresee(self, placement: Placement, available: int) -> MemoryPlan:
        """What a given placement comes to."""
        most = available * (1 - SPARE) - self.speed.overhead
        most = min(most, self._ceilings.get("picture", most))
        for record in (True, False):
            own = replace(placement, record_decoder=record, lent=0)
            if not record and self.fixed.lends and not own.tile:
                own = replace(own, lent=self._lent(own, most))
            peaks = Peaks(*(n + self.speed.overhead for n in self.peaks(own)))
            fits = max(peaks) <= available * (1 - SPARE) and all(
                getattr(peaks, stage) <= most for stage, most in self._ceilings.items())
            if fits:
                break
        return MemoryPlan(own, peaks, self.host(own), available, self.seconds(own), fits)

    def _lowers(self, found: MemoryPlan) -> bool:
        """Whether a plan does not reach the ceilings but is lower than what was seen to fail."""
        return found.peak <= found.available * (1 - SPARE) and all(
            getattr(found.peaks, stage) < most / LOWERED
            for stage, most in self._ceilings.items())

    def _excess(self, found: MemoryPlan) -> float:
        """By which factor a plan is above what may be used, or a stage above its ceiling."""
        return max(found.peak / max(1.0, found.available * (1 - SPARE)), *(
            getattr(found.peaks, stage) / most for stage, most in self._ceilings.items()), 0.0)

    def _allowed(self, kind: Placement) -> bool:
        own = self.counts.request.options
        if kind.narrow_cache and own.cache_dtype is not None:
            return False
        if kind.narrow_weights and not self.parts.narrowable:
            return False
        return not (kind.tile and (self.counts.request.tile or not self.counts.request.pictures))

    def _images(self) -> Iterator[int]:
        images = self.counts.request.images
        yield images
        while images > 1 and self.counts.request.divisible:
            images = -(-images // 2)
            yield images

    def _quickest(self, kind: Placement, available: int) -> MemoryPlan:
        """Among the placements of a kind, by how many blocks and layers wait elsewhere."""
        depth = self.parts.depth
        plan = self.counts.request.plan
        bounded = plan is not None and plan.compiled.bounded
        best = smallest = self.foresee(replace(
            kind, streamed=self.fixed.streamed or 0, text=self.fixed.text or 0), available)
        if best.fits and not best.placement.lent:
            return best
        for hosted in (0,) if bounded else range(depth + 1):
            for streamed in self._range(self.fixed.streamed, depth):
                placement = replace(kind, hosted=hosted, streamed=streamed)
                found = self._least_text(placement, available)
                if self._excess(found) < self._excess(smallest):
                    smallest = found
                if found.fits and not (best.fits and found.seconds > best.seconds * (1 - 1e-6)):
                    best = found
                if found.fits and found.placement.text == (self.fixed.text or 0):
                    break  # the more is streamed from here on, the longer it takes
        return best if best.fits else smallest

    @staticmethod
    def _range(fixed: int | None, most: int) -> range:
        return range(most + 1) if fixed is None else range(fixed, fixed + 1)

    def _least_text(self, placement: Placement, available: int) -> MemoryPlan:
        """With as few blocks of the text encoder streamed as the rest needs to fit."""
        if self.fixed.text is not None:
            return self.foresee(replace(placement, text=self.fixed.text), available)
        few, many = 0, self.parts.text_depth
        best = self.foresee(replace(placement, text=many), available)
        if not best.fits:
            return best
        while few < many:
            middle = (few + many) // 2
            found = self.foresee(replace(placement, text=middle), available)
            if found.fits:
                best, many = found, middle
            else:
                few = middle + 1
        return best

    def _lent(self, own: Placement, most: float) -> int:
        """Blocks that make room for the decoder, where it does not fit beside them: for all of it,
        as one piece."""
        if self.peaks(own).picture <= most:
            return 0
        blocks = -(-self.counts.picture() // self._lendable(own))
        return min(self.parts.depth - own.streamed, blocks)

    def _lendable(self, own: Placement) -> int:
        return self.parts.narrow_crossing if own.narrow_weights else self.parts.crossing

    def peaks(self, own: Placement) -> Peaks:
        """Bytes of tensors, without what libraries take."""
        parts, counts = self.parts, self.counts
        block = parts.narrow_block if own.narrow_weights else parts.block
        room = parts.narrow_room if own.narrow_weights else parts.room
        weights = parts.rest + parts.vae + (parts.depth - own.streamed) * block \
            + (2 * room if own.streamed else 0) \
            + parts.text_rest + (parts.text_depth - own.text) * parts.text_block
        cache, _ = counts.cache(own.images, own.hosted, own.narrow_cache)
        kept = cache + counts.text(own.images) + counts.kept(own.images) + counts.codes(own.images)
        scales = counts.scratch(own.images, own.narrow_cache)
        picture = counts.picture(own.tile)
        lent = own.lent * self._lendable(own)
        if counts.request.recorded:
            kept += recorded_bytes(scales)
            if own.record_decoder and not own.tile:
                kept += picture
        text = counts.request.images * parts.text_work + (2 * parts.text_block if own.text else 0)
        return Peaks(*(weights + kept + more for more in (text, scales, picture - lent)))

    def host(self, own: Placement) -> int:
        block = self.parts.narrow_block if own.narrow_weights else self.parts.block
        lent = own.lent * self._lendable(own)
        _, cache = self.counts.cache(own.images, own.hosted, own.narrow_cache)
        return own.streamed * block + lent + own.text * self.parts.text_block + cache

    def seconds(self, own: Placement) -> float:
        """Of a picture: every scale takes as long as its arithmetic or its copies, whichever is
        longer; the text encoder's copies overlap with nothing."""
        parts, counts, speed = self.parts, self.counts, self.speed
        request, shape = counts.request, counts.shape
        crossing = parts.narrow_crossing if own.narrow_weights else parts.crossing
        block = parts.narrow_block if own.narrow_weights else parts.block
        item = 1 if own.narrow_cache or request.options.cache_dtype is not None \
            else counts.dtype.itemsize
        rows, before, total = request.rows(own.images), 0, 0.0
        faster = 1.2 if own.narrow_weights else 1.0
        for number, tokens in enumerate(request.schedule.tokens):
            worked = parts.depth * tokens
            if request.plan is not None:
                worked = sum(request.plan.counts[number])
            if not worked:
                continue
            keys = before + tokens
            flops = rows * worked * (2 * 16 * shape.width**2 + 4 * shape.width * keys)
            reading = (parts.depth * block + rows * parts.depth * 2 * keys * shape.width * item)
            copied = own.streamed * crossing \
                + own.hosted * rows * 2 * (keys + tokens) * shape.width * item
            start = crossing if own.streamed else 0
            total += max(flops / (speed.flops * faster), reading / speed.memory,
                         copied / speed.bus) + start / speed.bus / 2
            before += tokens
        if own.narrow_cache:
            total *= 1.03
        if own.tile:
            total *= 1.05
        batches = 1 / own.images
        small = 0.1 * (1 - own.images / request.images) if request.images > 1 else 0.0
        text = own.text * parts.text_block / speed.bus / request.images
        lent = own.lent * crossing / speed.bus
        return total * batches * (1 + small) + text + lent

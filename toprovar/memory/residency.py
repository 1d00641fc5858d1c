"""Where the parts of a pipeline are, from one call to the next."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable, Collection, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..devices import free_bytes
from ..graphs import why_no_graphs
from ..models import decoding, text_runner
from ..models.fp8 import is_quantized, quantize_blocks
from ..models.text_streaming import forget_text_stream, stream_text, text_stream_of
from ..models.transformer import InfinityTransformer
from ..ops.fp8 import E4M3
from ..ops.fp8_linear import why_no_fp8
from ..rooms import spread
from ..sampling import workspace
from ..sampling.lending import forget_lent, lend_blocks, lent_of
from ..sampling.params import EngineOptions
from ..sampling.streaming import forget_stream, stream_blocks, stream_of
from .device import speed_of
from .needs import Counts, Request
from .parts import Parts
from .plan import LOWERED, SPARE, Fixed, MemoryPlan, MemoryPlanner, Placement, Speed, Stage
from .request import Allowance

if TYPE_CHECKING:
    from ..pipeline import InfinityPipeline

logger = logging.getLogger(__name__)

EVERY = frozenset({"transformer", "text_encoder", "vae"})
STEADY = 0.02
"""By which share of the memory what is free may change between calls with nothing planned anew."""
WORTHWHILE = 0.8
"""A placement that fits is left for another one that takes at most this share of its time."""
CHANGED = 0.1
"""By which share more memory must be free before another placement is looked for."""

@dataclass(frozen=True)
class Placed:
    """How a run is to be computed.

    Attributes:
        plan: of memory; options: the caller's, with what the plan adds.
        tile: of the decoder; record_decoder: whether its graph may be recorded.
    """

    plan: MemoryPlan
    options: EngineOptions
    tile: int | None
    record_decoder: bool

    @property
    def images(self) -> int:
        return self.plan.placement.images


class Residency:
    """Plans the memory of a pipeline's calls, and puts its parts where the plan wants them.

    Args:
        pipeline: held weakly.
        device: where it works.
        allowance: what may be used, and by which means.
        moves: names of the parts in its care. Others stay where they are, and are used by those who
            put them there; with none, only what a run makes for itself is planned.
        free: bytes that can still be allocated; None = asks the device.
        speed: of the device; None = found out.
    """

    def __init__(self, pipeline: InfinityPipeline, device: torch.device,
                 allowance: Allowance | None = None, moves: Collection[str] = EVERY,
                 free: Callable[[], int | None] | None = None, speed: Speed | None = None) -> None:
        self._pipeline = weakref.ref(pipeline)
        self.device, self.moves = device, frozenset(moves)
        self._free = free or (lambda: free_bytes(device))
        self.allowance = allowance or Allowance()
        self._speed = speed
        self._placed: tuple[int, int, int] | None = None
        self._parts: Parts | None = None
        self._drawn: Hashable = None
        self._free_before: int | None = None
        self._decoder_bytes = 0
        self._decoded: MemoryPlan | None = None
        self._latest: tuple[Request, MemoryPlan] | None = None
        self._ceilings: dict[Stage, int] = {}
        self.retries = self._retries_then = 0

    @property
    def plan(self) -> MemoryPlan | None:
        """Of the latest call."""
        return None if self._latest is None else self._latest[1]

    def prepare(self, request: Request) -> Placed | None:
        """Plan a call, and bring the parts to their places.

        Returns:
            how to compute; None where nobody knows how much memory there is.

        Raises:
            torch.OutOfMemoryError: no placement fits.
        """
        free = self._free()
        plan = self._steady(request, free)
        if plan is None:
            available = self.available(free)
            if available is None:
                if self.moves:
                    self._place(Placement())
                return None
            plan = self._choose(request, available)
            self._decoder_bytes = self.planner(request).counts.picture(plan.placement.tile)
        self._free_before = free
        limit = self.allowance.limit
        if self.moves and limit is not None and plan.peak > limit:
            raise torch.OutOfMemoryError(self.advice(plan, request))
        self._latest = request, plan  # if it does not fit: what takes least, as counts may be high
        if self.moves:
            self._place(plan.placement)
        self._make_room(request, plan)
        own, options = plan.placement, request.options
        if own.hosted:
            options = replace(options, hosted_layers=own.hosted)
        if own.narrow_cache:
            options = replace(options, cache_dtype=E4M3)
        return Placed(plan, options, own.tile or request.tile, own.record_decoder)

    def settle(self) -> None:
        """Bring the parts to their places for a picture of the model's own size; by exact means,
        as nobody has asked for it yet."""
        own = self._own()
        request = Request(own.resolve_schedule(None, None), 1, tile=own._vae_tile,
                          recorded=why_no_graphs(self.device) is None)
        available = self.available()
        if available is None:
            self._place(Placement())
        else:
            exact = replace(self.allowance, means="exact")
            self._place(self.planner(request).choose(exact, available).placement)

    @contextmanager
    def lending(self) -> Iterator[bool]:
        """While a picture is decoded: blocks make room for it where the plan says so, which is
        told. They are brought back where nothing fails; else by the next placing. Where none do,
        torch is made to have the memory in one piece: pieces left by others would not do."""
        lent, plan = lent_of(self._own().transformer), self.plan
        if plan is not None and plan is not self._decoded and not plan.placement.record_decoder:
            self._decoded = plan
            if self.device.type == "cuda":
                torch.cuda.empty_cache()  # pieces that scales have left, which nobody needs again
        if lent is None or plan is None or not plan.placement.lent:
            if plan is not None and not plan.placement.record_decoder:
                torch.empty(self._decoder_bytes, dtype=torch.uint8, device=self.device)
            yield False
            return
        lent.go()
        yield True
        if lent_of(self._own().transformer) is lent:
            lent.come_back()

    def available(self, free: int | None = None) -> int | None:
        """Bytes that this pipeline may use in all, those that it uses now included.

        Args:
            free: bytes that can still be allocated; None = asks.
        """
        free = self._free() if free is None else free
        found = None if free is None else free + self.held()
        limits = [n for n in (found, self.allowance.limit) if n is not None]
        return min(limits, default=None)

    def held(self) -> int:
        """Bytes that the pipeline's parts and what was made of them hold on the device now."""
        pipeline = self._own()
        there = {id(t): t.nbytes for part in (pipeline.transformer, pipeline.vae,
                                              pipeline.text_encoder) if part is not None
                 for t in (*part.parameters(), *part.buffers()) if t.device == self.device}
        stream = stream_of(pipeline.transformer)
        return sum(there.values()) + (0 if stream is None else stream.device_bytes) \
            + workspace.held_bytes(pipeline.transformer) + decoding.held_bytes(pipeline.vae)

    def ran_out(self, stage: Stage, error: str) -> None:
        """Memory ran out: free what can be made again, and allow that stage less from now on.

        Args:
            error: in words.
        """
        self.retries += 1
        self.free()
        plan = self.plan
        if plan is not None:
            foreseen = min(getattr(plan.peaks, stage), plan.available)
            self._ceilings[stage] = int(LOWERED * min(
                foreseen, self._ceilings.get(stage, foreseen)))
        logger.warning("memory ran out (%s): going on with less", error.partition("\n")[0])

    def leave(self) -> None:
        """Take the parts out of this care: all of them can be moved again as they are used to."""
        pipeline = self._own()
        workspace.release(pipeline.transformer)
        forget_stream(pipeline.transformer)
        forget_lent(pipeline.transformer)
        if pipeline.text_encoder is not None:
            forget_text_stream(pipeline.text_encoder)
        self._placed = None

    def moved(self, away: bool = False) -> None:
        """Somebody else has moved parts in this care: the next call brings them back.

        Args:
            away: all of them, with whatever else was there: what ran out of memory may fit now.
        """
        self._placed = None
        if away:
            self._ceilings.clear()

    def free(self) -> None:
        """Free what was recorded, and everything that torch holds unused."""
        pipeline = self._own()
        workspace.release(pipeline.transformer)
        decoding.forget_recordings(pipeline.vae)
        text_runner.forget_recordings(pipeline.text_encoder)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _own(self) -> InfinityPipeline:
        pipeline = self._pipeline()
        if pipeline is None:
            raise RuntimeError("the pipeline is gone")
        return pipeline

    def _steady(self, request: Request, free: int | None) -> MemoryPlan | None:
        """The plan of the latest call, where nothing has changed since."""
        if self._latest is None or self._latest[0] != request or free is None \
                or self._free_before is None:
            return None
        plan = self._latest[1]
        near = abs(free - self._free_before) <= STEADY * plan.available
        return plan if near and plan.fits and self.retries == self._retries_then else None

    def _make_room(self, request: Request, plan: MemoryPlan) -> None:
        """Drop what other sizes have recorded, where it would be in the way."""
        transformer = self._own().transformer
        own = plan.placement
        drawn = (request.schedule, own.images, request.guided, request.options, own.hosted,
                 own.narrow_cache, request.runs_again)
        if drawn != self._drawn and plan.peak + workspace.held_bytes(transformer) > \
                plan.available * (1 - SPARE):
            self.free()
        self._drawn = drawn
        self._retries_then = self.retries

    def _choose(self, request: Request, available: int) -> MemoryPlan:
        planner = self.planner(request)
        if self._latest is None:
            return planner.choose(self.allowance, available)
        known, before = self._latest
        images = before.placement.images if known.images == request.images else request.images
        now = planner.foresee(replace(before.placement, images=images), available)
        more = available > (1 + CHANGED) * before.available
        if now.fits and not more:
            return now  # parts and recordings stay where they are
        if self.moves and not more:
            kept = self.planner(request, Fixed(before.placement.streamed, before.placement.text))
            found = kept.choose(self.allowance, available)
            if found.fits:
                return found
        found = planner.choose(self.allowance, available)
        return now if now.fits and found.seconds > WORTHWHILE * now.seconds else found

    def planner(self, request: Request, fixed: Fixed | None = None) -> MemoryPlanner:
        """Of a request, with the parts as they are."""
        pipeline = self._own()
        transformer, encoder = pipeline.transformer, pipeline.text_encoder
        stream = stream_of(transformer)
        fixed = fixed or Fixed()
        if "transformer" not in self.moves:
            fixed = replace(fixed, streamed=0 if stream is None else len(stream.streamed),
                            lends=False)
        if "text_encoder" not in self.moves:
            text = None if encoder is None else text_stream_of(encoder)
            fixed = replace(fixed, text=0 if text is None else len(text.streamed))
            if encoder is not None and encoder.device != self.device:
                encoder = None
        if self._parts is None or self.moves != EVERY:  # others come and go
            self._parts = Parts.of(transformer, pipeline.vae, encoder, self.device)
            if "transformer" not in self.moves or self._no_narrow_weights():
                self._parts = replace(self._parts, narrowable=False)
        counts = Counts(transformer, pipeline.vae, request, self.device.type == "cuda")
        return MemoryPlanner(self._parts, counts, self._speed or speed_of(self.device), fixed,
                             self._ceilings)

    def _no_narrow_weights(self) -> bool:
        return self.device.type == "cuda" and why_no_fp8(self.device) is not None

    def _place(self, own: Placement) -> None:
        pipeline = self._own()
        transformer, encoder = pipeline.transformer, pipeline.text_encoder
        if own.narrow_weights and not is_quantized(transformer):
            workspace.release(transformer)
            forget_stream(transformer)
            forget_lent(transformer)
            quantize_blocks(transformer)
            self._placed = self._parts = None
        placed = own.streamed, own.text, own.lent
        lent = lent_of(transformer)
        if lent is not None and lent.away and placed == self._placed:
            lent.come_back()
        if placed == self._placed and self._in_place(transformer, encoder):
            return
        if "transformer" in self.moves:
            self._place_blocks(transformer, own)
        if encoder is not None and "text_encoder" in self.moves:
            text = text_stream_of(encoder)
            if own.text != (0 if text is None else len(text.streamed)) \
                    or next(encoder.parameters()).device != self.device:
                stream_text(encoder, self.device, own.text)
        if "vae" in self.moves:
            nn.Module.to(pipeline.vae, self.device)
        self._placed = placed
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # what has left the device

    def _place_blocks(self, transformer: InfinityTransformer, own: Placement) -> None:
        """Blocks that were lent leave first, and those that will be come first: each time they lie
        in one piece, which must not have holes that others are put in."""
        stream, lent, depth = stream_of(transformer), lent_of(transformer), transformer.shape.depth
        streamed = 0 if stream is None else len(stream.streamed)
        same = self._placed is not None and transformer.null_text.device == self.device \
            and own.streamed == streamed \
            and own.lent == (0 if lent is None else len(lent.layers)) \
            and not (lent is not None and lent.away)
        if same:
            return
        workspace.release(transformer)
        if lent is not None:
            lent.go()
            forget_lent(transformer)
        at_home = spread(own.streamed, depth)
        here = [layer for layer in range(depth) if layer not in at_home]
        lend_blocks(transformer, self.device, here[: own.lent])
        stream_blocks(transformer, self.device, depth - own.streamed)

    def _in_place(self, transformer: InfinityTransformer, encoder: Any) -> bool:
        """Whether nobody has moved the parts since."""
        small = [transformer.null_text] if "transformer" in self.moves else []
        if "vae" in self.moves:
            small.append(next(self._own().vae.parameters()))
        if encoder is not None and "text_encoder" in self.moves:
            small.append(next(encoder.parameters()))
        return all(tensor.device == self.device for tensor in small)

    def advice(self, plan: MemoryPlan | None, request: Request | None) -> str:
        """What somebody can do whose request does not fit."""
        what = "this does not fit the memory" if plan is None else f"this does not fit: {plan}"
        ways = ["a smaller size"]
        if request is not None and request.images > 1:
            ways.insert(0, "fewer images at once")
        if self.allowance.means == "exact":
            ways.append("8-bit numbers (memory 'auto' or '8-bit')")
        if self.allowance.limit is not None:
            ways.append(f"a higher limit than {self.allowance}")
        if "transformer" not in self.moves:
            ways.append("enable_model_cpu_offload(), which lets parts wait in host memory")
        return f"{what}. What helps: {', or '.join(ways)}"

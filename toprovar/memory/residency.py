"""Where the parts of a pipeline are, from one call to the next."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from collections.abc import Callable, Collection, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from ..devices import free_bytes
from ..graphs import why_no_graphs
from ..models import decoding, text_runner
from ..models.fp8 import is_quantized
from ..models.text_streaming import text_stream_of
from ..ops.fp8 import E4M3
from ..ops.fp8_linear import why_no_fp8
from ..sampling import workspace
from ..sampling.lending import lent_of
from ..sampling.params import EngineOptions
from ..sampling.streaming import stream_of
from .device import speed_of
from .needs import Counts, Request
from .parts import Parts
from .placement import Fixed, MemoryPlan, Placement, Speed, Stage
from .placing import Places
from .plan import LOWERED, SPARE, MemoryPlanner
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
        self._places = Places(self._own, device, self.moves)
        self._lock = threading.RLock()
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
        with self._lock:
            return self._prepare(request)

    def _prepare(self, request: Request) -> Placed | None:
        free = self._free()
        plan = self._steady(request, free)
        if plan is None:
            available = self.available(free)
            if available is None:
                self._bring(Placement())
                return None
            plan = self._choose(request, available)
            self._decoder_bytes = self.planner(request).counts.picture(plan.placement.tile)
        self._free_before = free
        limit = self.allowance.limit
        if self.moves and limit is not None and plan.peak > limit:
            raise torch.OutOfMemoryError(self.advice(plan, request))
        self._latest = request, plan  # if it does not fit: what takes least, as counts may be high
        self._bring(plan.placement)
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
            self._bring(Placement())
        else:
            exact = replace(self.allowance, means="exact")
            self._bring(self.planner(request).choose(exact, available).placement)

    @contextmanager
    def lending(self) -> Iterator[bool]:
        """While a picture is decoded; tells whether its memory is given back afterwards, so that
        nothing may stay in it. Blocks make room where the plan says so; they are brought back where
        nothing fails, else by the next placing. Where none do and memory is scarce, torch is made
        to have it in one piece: pieces left by others would not do."""
        lent, plan = lent_of(self._own().transformer), self.plan
        tight = plan is not None and not plan.placement.record_decoder
        if tight and plan is not self._decoded:
            self._decoded = plan
            self._free_pieces()  # left by the scales; nobody needs them again
        if lent is None or plan is None or not plan.placement.lent or not self._alone():
            if tight:
                torch.empty(self._decoder_bytes, dtype=torch.uint8, device=self.device)
            yield tight
            if tight:
                self._free_pieces()  # before something that stays is put into the decoder's piece
            return
        with self._lock:  # a call that begins now waits for the blocks
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
        return self._places.held()

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
        logger.warning("memory ran out (%s): continuing with less", error.partition("\n")[0])

    def leave(self) -> None:
        """Take the parts out of this care: all of them can be moved again as they are used to."""
        self._places.leave()

    def moved(self, away: bool = False) -> None:
        """Somebody else has moved parts in this care: the next call brings them back.

        Args:
            away: all of them, with whatever else was there: what ran out of memory may fit now.
        """
        self._places.moved()
        if away:
            self._ceilings.clear()

    def free(self) -> None:
        """Free what was recorded, and everything that torch holds unused."""
        pipeline = self._own()
        workspace.release(pipeline.transformer)
        decoding.forget_recordings(pipeline.vae)
        text_runner.forget_recordings(pipeline.text_encoder)
        gc.collect()
        self._free_pieces()

    def _free_pieces(self) -> None:
        """Give back what torch holds unused."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _alone(self) -> bool:
        """Whether no other call is in flight, whose blocks must stay where they are."""
        return len(self._own()._flights) <= 1

    def _bring(self, placement: Placement) -> None:
        """The parts to their places, if nobody works with them there."""
        if self.moves and self._alone():
            before = is_quantized(self._own().transformer)
            self._places.bring(placement)
            if is_quantized(self._own().transformer) != before:
                self._parts = None  # counted anew

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

"""The pictures that calibration draws, and how like the dense ones they are."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..entropy.trace import EntropyTrace, TraceRecorder
from ..evaluation.metrics import likeness, ssim
from ..models.fingerprint import model_fingerprint
from ..models.text import PackedText
from ..pipeline import InfinityPipeline
from ..pipeline_inputs import make_generators
from ..pipeline_memory import CallMemory, request_of
from ..pipeline_outputs import decode_images
from ..sampling.branches import BranchingRun
from ..sampling.memory import EntropyListener
from ..sampling.params import EngineOptions, SamplingParams
from ..schedules import ScaleSchedule
from ..sparsity.plan import SparsityPlan, dense_plan
from .choices import choice_plan
from .measure import FEWEST_TOKENS

Job = tuple[str, int]
"""A prompt and a seed."""
Alike = tuple[float, float]
"""Likeness and SSIM of a picture to the dense one (``evaluation.metrics``)."""


class OutOfTimeError(Exception):
    """The time of a part of the calibration is over; what was found so far is kept."""


@dataclass
class Work:
    """What was drawn so far.

    Attributes:
        pictures: decoded; dense: of these, dense ones.
        run: tokens of scales that were run; alone: that runs of their own would have taken.
        replayed: scales that were replayed from a recording; scales: that were run, in all.
    """

    pictures: int = 0
    dense: int = 0
    run: int = 0
    alone: int = 0
    replayed: int = 0
    scales: int = 0


@dataclass
class Drawing:
    """Draws jobs' pictures on one schedule, several plans of a job in one go.

    Attributes:
        jobs: what can be drawn; others are asked for by number.
        guidance_scale, tau, options: as of the pipeline's call, None = its defaults.
        check: called before every layer, or every scale where these are recorded; what it raises
            ends the work.
        tile: as ``vae_tile`` of the pipeline's call.
        encode: features of a prompt; None = by the pipeline's text encoder.
        work: may be shared with other drawings.
        deadline: of ``time.monotonic``; ``OutOfTimeError`` is raised after the picture behind it.
        times: shortest time of each step that was run (``sampling.branches.step_keys``), seconds.
    """

    pipeline: InfinityPipeline
    schedule: ScaleSchedule
    jobs: Sequence[Job]
    guidance_scale: Any = None
    tau: Any = None
    options: EngineOptions | None = None
    check: Callable[[], None] | None = None
    tile: int | None = None
    encode: Callable[[str], PackedText] | None = None
    work: Work = field(default_factory=Work)
    deadline: float = math.inf
    times: dict[Any, float] = field(default_factory=dict)
    _texts: dict[str, PackedText] = field(default_factory=dict)
    _dense: dict[int, Tensor] = field(default_factory=dict)

    @property
    def params(self) -> SamplingParams:
        """Of every run."""
        config = self.pipeline.config
        return SamplingParams(
            self.schedule,
            config["default_cfg"] if self.guidance_scale is None else self.guidance_scale,
            config["default_tau"] if self.tau is None else self.tau)

    def compared(self, plans: Sequence[SparsityPlan], number: int,
                 leaves: Collection[tuple[int, int]] = ()) -> list[Alike]:
        """A job's pictures under plans, against its dense one.

        Raises:
            OutOfTimeError: the deadline passed; nothing is returned then.
        """
        found: list[Alike] = [(1.0, 1.0)] * len(plans)
        dense, first = self._dense.get(number), 0
        if dense is None:
            plans, first = [self.dense_plan, *plans], 1
        early: list[tuple[int, Tensor]] = []  # of plans that end before the dense one does
        device = self.pipeline.transformer.null_text.device
        for i, codes in self.branches(plans, number, leaves):
            picture = self.picture(codes)
            if i < first:
                dense = self._dense[number] = picture.cpu()
                self.work.dense += 1
            elif dense is None:
                early.append((i - first, picture.cpu()))
            else:
                found[i - first] = _alike(picture, dense)
        assert dense is not None
        for i, picture in early:
            found[i] = _alike(picture.to(device), dense)
        return found

    def look(self, number: int, recorder: TraceRecorder) -> tuple[EntropyTrace, list[float | None]]:
        """A job's entropies in a dense run, and for each scale the SSIM to the dense picture when
        it and all later ones are not run (None for the first, and for small ones)."""
        shape, count = self.pipeline.transformer.shape, len(self.schedule)
        ends = [s for s in range(1, count) if self.schedule.tokens[s] >= FEWEST_TOKENS]
        plans = [self.dense_plan, *(choice_plan(shape, self.schedule, count, tuple(range(s, count)))
                                    for s in ends)]
        pictures: dict[int, Tensor] = {}
        with self.running(number, watch=recorder) as run:
            for i, codes in run.draw(plans):
                pictures[i] = self.picture(codes)
        dense = pictures[0]
        self._dense[number] = dense.cpu()
        self.work.dense += 1
        alike: list[float | None] = [None] * count
        for i, end in enumerate(ends, 1):
            alike[end] = float(ssim(pictures[i].float(), dense.float()))
        prompt, seed = self.jobs[number]
        return recorder.trace(
            self.schedule, shape.depth, prompts=[prompt], seeds=[seed],
            model=model_fingerprint(self.pipeline.transformer), params=self.params.to_json(),
        ), alike

    def branches(self, plans: Sequence[SparsityPlan], number: int,
                 leaves: Collection[tuple[int, int]] = ()) -> Iterator[tuple[int, Tensor]]:
        """(number of a plan, summed codes) of a job, in any order; see ``BranchingRun.draw``."""
        with self.running(number, leaves) as run:
            for left, (i, codes) in zip(reversed(range(len(plans))), run.draw(plans), strict=True):
                yield i, codes
                if left and time.monotonic() > self.deadline:
                    raise OutOfTimeError

    @contextmanager
    def running(self, number: int, leaves: Collection[tuple[int, int]] = (),
                watch: EntropyListener | None = None) -> Iterator[BranchingRun]:
        """A run of a job. At the end what it did is counted, and what it held is freed."""
        prompt, seed = self.jobs[number]
        generators = make_generators(None, [seed], 1)
        assert isinstance(generators, list)
        text = self._text(prompt)
        run = BranchingRun(
            self.pipeline.transformer, text, self.params, generators=generators,
            leaves=leaves, options=self._memory().options, check=self.check, watch=watch)
        try:
            yield run
        finally:
            for key, seconds in run.seconds().items():
                self.times[key] = min(self.times.get(key, seconds), seconds)
            self.work.run += run.shared.run
            self.work.alone += run.shared.alone
            self.work.scales += run.shared.scales
            self.work.replayed += run.replayed
            run.release()

    def picture(self, codes: Tensor) -> Tensor:
        """[1, 3, H, W] half precision in [0, 1], of [1, d, h, w] summed codes, on their device."""
        self.work.pictures += 1
        self.pipeline.wake("vae", codes.device)
        memory = self._memory()
        with memory.decoding() as lent:
            found = decode_images(self.pipeline.vae, codes, "pt", memory.tile)
            found = found.clamp(0, 1).half()
            if lent:
                found = found.cpu()  # nothing may stay in the memory that goes back
        return found.to(codes.device)

    def _memory(self) -> CallMemory:
        """How runs are computed on this device."""
        return CallMemory(self.pipeline.residency, request_of(
            self.pipeline, None, self.options, self.schedule, 1, self.params.guided,
            tile=self.tile, runs_again=True))

    @property
    def dense_plan(self) -> SparsityPlan:
        return dense_plan(self.pipeline.transformer.shape, self.schedule)

    def _text(self, prompt: str) -> PackedText:
        if prompt not in self._texts:
            self._texts[prompt] = (self.encode or self.pipeline.encode_prompt)(prompt).to("cpu")
        device = self.pipeline._execution_device
        self._memory()  # in place, before what is computed there
        self.pipeline.wake("transformer", device)
        return self._texts[prompt].to(device)



def _alike(picture: Tensor, dense: Tensor) -> Alike:
    picture, own = picture.float(), dense.to(picture.device).float()
    return float(likeness(picture, own)), float(ssim(picture, own))


def fitting_jobs(prompts: Sequence[str], seeds: Sequence[int], pictures: int) -> list[Job]:
    """For shortcuts: the same prompts, with seeds that calibration does not measure with."""
    first = max(seeds) + 1001
    return [(prompts[i % len(prompts)], first + i // len(prompts)) for i in range(pictures)]

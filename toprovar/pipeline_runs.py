"""The runs of one pipeline call: one after another, each decoded when its scales are done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .editing.edit import Edit
from .models.decoding import compile_ahead
from .pipeline_callback import StepCallback
from .pipeline_inputs import Call
from .pipeline_memory import CallMemory
from .pipeline_outputs import OutputType, decode_images, join_images
from .sampling.bits import Sampler
from .sampling.memory import EntropyListener
from .sampling.params import SamplingParams
from .sampling.report import RunReport
from .sampling.resume import Done
from .sampling.run import SamplingRun, ScaleState
from .sampling.timing import Clock
from .sparsity.planner import Planner
from .times import Kind

if TYPE_CHECKING:
    from .pipeline import InfinityPipeline

OnImage = Callable[[int, Any, RunReport], None]


@dataclass
class Runs:
    """What is the same in all runs of a call; the fields are arguments of a pipeline call.

    Attributes:
        memory: how runs are computed; clock: of the call, which gets the marks of decoding.
        edit: what is kept of a source; None = everything is drawn.
    """

    pipeline: InfinityPipeline
    params: SamplingParams
    plan: Planner | None
    memory: CallMemory
    output_type: OutputType
    check: Callable[[], None] | None
    on_scale: Callable[[ScaleState], None] | None
    on_image: OnImage | None
    step: StepCallback | None
    watch: EntropyListener | None
    clock: Clock
    edit: Edit | None = None
    reports: list[RunReport] = field(default_factory=list)

    def __call__(self, calls: Sequence[Call]) -> Any:
        """Run and decode; the images in their form. ``reports`` has one report for each run."""
        pipeline, steps = self.pipeline, len(self.params.schedule)
        device = pipeline._execution_device
        place = (str(device), str(pipeline.transformer.compute_dtype), self.memory.options)
        kinds = [Kind.of(place, self.params.schedule, len(text), self.params.guided)
                 for text, _, _ in calls]
        parts: list[Any] = []
        clocks: list[Clock] = []
        images, note = 0, None
        with pipeline.progress_bar(total=steps * len(calls)) as bar:  # type: ignore[call-arg]  # a decorator that hides it
            for i, (call, kind) in enumerate(zip(calls, kinds, strict=True)):
                pipeline.wake("transformer", device)
                codes, report, clock = self._sample(
                    call, kind, device, lambda done, i=i: bar.update(i * steps + done - bar.n),
                    None if self.edit is None else self.edit.part(images, len(call[0])))
                if pipeline.interrupt:
                    several = f" of image {i + 1}" if len(calls) > 1 else ""
                    note = f"interrupted after {len(report.scales)} of {steps} scales{several}"
                self.reports.append(report)
                clocks.append(clock)
                self.clock.mark(("decode", i))
                parts.append(self._decoded(codes, images, report))
                self.clock.mark(("decode", i))
                images += len(codes)
                if pipeline.interrupt:
                    break
        # Only now: the device was not waited for, so that it could go on with the decoder.
        self.reports = [c.timed(r) for c, r in zip(clocks, self.reports, strict=True)]
        if self.watch is None and self.step is None and self.edit is None:
            for kind, report in zip(kinds, self.reports, strict=False):
                pipeline.times.learn(kind, report)
        self.reports = [pipeline.times.compared(kind, report, pipeline.transformer.shape)
                        for kind, report in zip(kinds, self.reports, strict=False)]
        if note is not None:
            first = self.reports[0]
            self.reports[0] = replace(first, notes=(*first.notes, note))
        return join_images(parts, self.output_type)

    @property
    def decode_seconds(self) -> float:
        return sum(self.clock.seconds(("decode", i)) for i in range(len(self.reports)))

    def _sample(self, call: Call, kind: Kind, device: torch.device,
                progress: Callable[[int], object], edit: Edit | None
                ) -> tuple[Tensor, RunReport, Clock]:
        """One run. Its KV cache makes room, at the end, for the decoder and the next run."""
        done = Done(call[2])
        return self.memory.again(
            "scales", lambda: self._attempt(call, kind, device, progress, done, edit), len(call[0]))

    def _attempt(self, call: Call, kind: Kind, device: torch.device,
                 progress: Callable[[int], object], done: Done, edit: Edit | None
                 ) -> tuple[Tensor, RunReport, Clock]:
        """The run, from where an earlier attempt ended."""
        pipeline = self.pipeline
        text, negative, generators = call
        choose = done.chooser(self.params)
        plan, held = self.plan, None
        if edit is not None:
            plan = edit.planner(plan, pipeline.transformer.shape, self.params.schedule)
            choose = edit.chooser(choose or Sampler(self.params, generators), device)
            held = edit.held(pipeline.transformer.shape, self.params.schedule, device)
        run = SamplingRun(
            pipeline.transformer, text.to(device), self.params, negative=negative, plan=plan,
            generators=generators, options=self.memory.options, check=self.check,
            watch=self.watch, slower=partial(pipeline.times.slower, kind),
            choose=choose, held=held, near=None if edit is None else edit.near,
            away=None if edit is None else edit.away,
        )
        last = None if edit is None else edit.last
        if self.output_type != "latent":
            compile_ahead(pipeline.vae)  # while scales run
        for state in run:
            if done.has(state.index):
                done.restore(run, state.index)
                if state.index == last:
                    break
                continue
            progress(state.index + 1)
            if self.on_scale is not None:
                self.on_scale(state)
            if self.step is not None:
                self.step(pipeline, run, state, text, negative)
            done.note(state, run.summed_codes if self.step is not None else None)
            if pipeline.interrupt or state.index == last:
                break
        else:
            progress(len(self.params.schedule))  # scales left out at the end
        if held is not None:
            with torch.inference_mode():
                held.finish(run.summed_codes)
        return run.summed_codes, run.report(wait=False), run.clock

    def _decode(self, codes: Tensor) -> Any:
        """Pictures of [b, d, h, w] codes, in their form."""
        with self.memory.decoding() as lent:
            found = decode_images(self.pipeline.vae, codes, self.output_type, self.memory.tile,
                                  self.memory.graph)
            if lent and isinstance(found, Tensor):
                found = found.cpu()  # nothing may stay in the memory that goes back
        return found.to(codes.device) if isinstance(found, Tensor) else found

    def _decoded(self, codes: Tensor, first: int, report: RunReport) -> Any:
        """Pictures of [b, d, h, w] codes; each is told of as soon as there is one."""
        if self.output_type == "latent":
            return codes.clone()
        pipeline = self.pipeline
        pipeline.wake("vae", codes.device)
        parts = []
        for i, some in enumerate([codes] if self.on_image is None else codes.split(1)):
            parts.append(self.memory.again("picture", lambda some=some: self._decode(some),
                                           len(codes)))
            if self.edit is not None and self.edit.paste is not None:
                parts[-1] = self.edit.paste(parts[-1], first + i)
            if self.on_image is not None:
                self.on_image(first + i, parts[-1][0], report)
        return join_images(parts, self.output_type)

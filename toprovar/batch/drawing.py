"""Jobs to pictures: groups that can be drawn together, texts encoded ahead, and what fails set
apart from what does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from ..models.text import PackedText
from ..picture_parameters import as_json, parameters_of
from ..pipeline_memory import out_of_memory
from ..pipeline_outputs import decode_images
from ..printable import one_line
from .jobs import Job, Settings
from .sizing import Sizer
from .source import Planned, Source

if TYPE_CHECKING:
    from PIL import Image

    from ..pipeline import InfinityPipeline
    from ..sampling.report import RunReport
    from ..sampling.run import ScaleState
    from ..schedules import ScaleSchedule

AHEAD = 64
"""Jobs whose texts are encoded before the first of them is drawn."""


@dataclass(frozen=True)
class Drawn:
    """A picture.

    Attributes:
        picture: makes it; where it is not decoded yet, that is done by the caller's thread.
        codes: [1, d, h, w] summed codes, where they are wanted.
        parameters: for the picture's file.
        report: of its run; together: pictures of that; seconds: of the call, for each of them.
    """

    job: Job
    picture: Callable[[], Image.Image]
    codes: Tensor | None
    parameters: dict[str, Any]
    notes: tuple[str, ...]
    report: RunReport
    seconds: float

    @property
    def together(self) -> int:
        return self.report.images


@dataclass(frozen=True)
class Undrawn:
    """A job that could not be drawn, and why.

    Attributes:
        strange: whether the reason may lie elsewhere than in the job.
    """

    job: Job
    reason: str
    strange: bool = False


@dataclass(frozen=True)
class Prepared:
    """A job that is ready to be drawn.

    Attributes:
        text, negative: features, on the CPU.
    """

    job: Job
    schedule: ScaleSchedule
    planned: Planned
    text: PackedText
    negative: PackedText | None

    @property
    def kind(self) -> tuple[Any, ...]:
        """Jobs of one kind can be drawn together."""
        job = self.job
        return self.schedule.grids, job.cfg, job.plan, self.negative is None


class Host(Protocol):
    """Who decides what is on the device, where the pipeline does not do that itself."""

    def encode(self, text: str) -> PackedText:
        """Features of one prompt."""
        ...

    def place(self, schedule: ScaleSchedule, planned: Planned, images: int, cfg: float | None
              ) -> None:
        """Make room for a call of the pipeline."""
        ...


@dataclass
class Drawer:
    """Draws jobs with one pipeline.

    Args:
        check: called before every layer; what it raises ends the drawing.
        on_scale: as of a pipeline call.
        host: None = the pipeline sees to its memory itself.
    """

    pipeline: InfinityPipeline
    source: Source
    settings: Settings
    check: Callable[[], None] | None = None
    on_scale: Callable[[ScaleState], None] | None = None
    host: Host | None = None
    _sizers: dict[Any, Sizer] = field(default_factory=dict)
    _plans: dict[Any, Planned] = field(default_factory=dict)
    _stopped: BaseException | None = None

    def __call__(self, jobs: Sequence[Job]) -> Iterator[Drawn | Undrawn]:
        """Every job once, those of one kind beside each other, as they are finished."""
        waiting = iter(sorted(jobs, key=lambda job: (
            str(job.size), str(job.plan), str(job.cfg), job.negative is None)))
        while ahead := list(islice(waiting, AHEAD)):
            ready: dict[Any, list[Prepared]] = {}
            for job in ahead:
                found = self._prepared(job)
                if isinstance(found, Undrawn):
                    yield found
                else:
                    ready.setdefault(found.kind, []).append(found)
            for kind, own in ready.items():
                sizer = self._sizers.setdefault(kind, Sizer(self.settings.batch))
                while own:
                    batch, own = own[: sizer.size], own[sizer.size :]
                    yield from self._drawn(batch, sizer)

    def _prepared(self, job: Job) -> Prepared | Undrawn:
        try:
            schedule = self.source.schedule(job, self.pipeline)
            known = (schedule.grids, job.plan, job.cfg)
            if known not in self._plans:
                self._plans[known] = self.source.plan(job, self.pipeline, schedule)
            # Each alone: in a batch its features would be rounded otherwise.
            text = self._encoded(job.prompt)
            negative = None if job.negative is None else self._encoded(job.negative)
        except Exception as error:
            return self._failed(job, error)
        return Prepared(job, schedule, self._plans[known], text, negative)

    def _encoded(self, text: str) -> PackedText:
        self._stop()
        if self.host is not None:
            return self.host.encode(text)
        return self.pipeline.encode_prompt(text, weights=self.settings.word_weights).to("cpu")

    def _drawn(self, batch: list[Prepared], sizer: Sizer) -> Iterator[Drawn | Undrawn]:
        """A batch; where it fails, its halves, down to the job that is to blame."""
        try:
            began = time.perf_counter()
            found = self._call(batch)
            sizer.took(len(batch), time.perf_counter() - began)
        except Exception as error:
            if len(batch) == 1:
                yield self._failed(batch[0].job, error)
                return
            if self._stopped is not None:
                raise self._stopped from None
            if isinstance(error, RuntimeError) and out_of_memory(error):
                sizer.ran_out(len(batch))
        else:
            yield from found
            return
        half = (len(batch) + 1) // 2
        yield from self._drawn(batch[:half], sizer)
        yield from self._drawn(batch[half:], sizer)

    def _failed(self, job: Job, error: Exception) -> Undrawn:
        """A job's own fault; what ``check`` raised is none."""
        if self._stopped is not None:
            raise self._stopped from None
        strange = not isinstance(error, ValueError)
        kind = f"{type(error).__name__}: " if strange else ""
        return Undrawn(job, one_line(f"{kind}{error}"), strange)

    def _call(self, batch: list[Prepared]) -> list[Drawn]:
        first, settings, pipeline = batch[0], self.settings, self.pipeline
        jobs = [each.job for each in batch]
        if self.host is not None:
            self.host.place(first.schedule, first.planned, len(batch), first.job.cfg)
        device = pipeline.transformer.null_text.device
        apart = self.host is not None and pipeline.vae.device != device
        codes: list[Tensor] = []
        last = -1

        def on_scale(state: ScaleState) -> None:
            nonlocal last
            if settings.latents and not apart:
                if last < 0 or state.index <= last:
                    codes.append(state.summed_codes)
                codes[-1] = state.summed_codes.clone()
                last = state.index
            if self.on_scale is not None:
                self.on_scale(state)

        began = time.perf_counter()
        done = pipeline(
            prompt_features=_joined([each.text for each in batch]),
            negative_features=None if first.negative is None else _joined(
                [each.negative for each in batch if each.negative is not None]),
            guidance_scale=first.job.cfg, tau=settings.tau, top_p=settings.top_p,
            greedy=settings.greedy, seed=[job.seed for job in jobs], schedule=first.schedule,
            plan=first.planned.plan, options=self.source.options(), vae_tile=settings.vae_tile,
            output_type="latent" if apart else "pil", check=self._stop, on_scale=on_scale,
        )
        seconds = (time.perf_counter() - began) / len(batch)
        reports = [report for report in done.reports for _ in range(report.images)]
        each_codes: list[Tensor | None] = list(torch.cat(codes).split(1)) if codes \
            else list(done.images.split(1)) if apart else [None] * len(batch)
        found = []
        for i, (each, report, own) in enumerate(zip(batch, reports, each_codes, strict=True)):
            make = self._decoding(own) if apart and own is not None else done.images[i].copy
            found.append(Drawn(
                each.job, make, own.cpu() if own is not None and settings.latents else None,
                self._parameters(each, report), _notes(each, report), report, seconds))
        return found

    def _decoding(self, codes: Tensor) -> Callable[[], Image.Image]:
        """Where the VAE is on another device than the transformer, pictures are decoded by the
        thread that writes them, beside the next scales. On one GPU the decoder's memory may be lent
        by the transformer, and on one CPU both would share the cores and be slower together
        (benchmarks/batch.py), so the call itself decodes."""
        tile = self.settings.vae_tile or self.pipeline._vae_tile
        vae = self.pipeline.vae
        return lambda: decode_images(vae, codes.to(vae.device), "pil", tile)[0]

    def _parameters(self, each: Prepared, report: RunReport) -> dict[str, Any]:
        """The same as of ``toprovar generate``."""
        settings, planned = self.settings, each.planned
        about = {"prompt": each.job.prompt, "negative_prompt": each.job.negative}
        more: dict[str, Any] = {}
        if settings.vae_tile:
            more["vae_tile"] = settings.vae_tile
        if planned.request is not None:
            more["plan_request"] = planned.request
        told = {**as_json(planned.finished(report), planned.name), **about, **more,
                "prompt_weights": settings.word_weights}
        return {**parameters_of(told), "seed": each.job.seed}

    def _stop(self) -> None:
        if self.check is None:
            return
        try:
            self.check()
        except BaseException as error:
            self._stopped = error
            raise


def _joined(texts: list[PackedText]) -> PackedText:
    return texts[0] if len(texts) == 1 else PackedText.join(texts)


def _notes(each: Prepared, report: RunReport) -> tuple[str, ...]:
    """Of the run, and of this prompt: a batch has them all mixed."""
    own = [f"the prompt {note}" for note in each.text.notes]
    notes = [note for note in report.notes if not note.startswith(("the prompt", "the negative"))]
    size = ()
    if each.job.size is not None:
        from ..schedules import size_notes

        size = size_notes(each.schedule, each.job.size[1], each.job.size[0])
    return tuple(dict.fromkeys((*own, *size, *notes)))

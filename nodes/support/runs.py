"""One sampling run for a node, and the report that travels from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .host import between, stop_if_interrupted, unit_to_comfy
from .infinity import Infinity, PlanChoice
from .watching import Watcher

if TYPE_CHECKING:
    from ...toprovar.editing.stack import BitStack
    from ...toprovar.pipeline_outputs import InfinityPipelineOutput
    from ...toprovar.sampling.report import RunReport
    from ...toprovar.schedules import ScaleSchedule
    from ...toprovar.sparsity.plan import SparsityPlan
    from ...toprovar.sparsity.planner import Planner


@dataclass(frozen=True)
class Report:
    """What a run did: the socket INFINITY_REPORT.

    Attributes:
        runs: the engine's reports: one, or several where images were drawn one after another, as
            each was planned by itself or memory allowed fewer at once.
        flop_shares: of a dense run, for each of them.
        bits: of each image, {scale: [1, N, d]}; latents: [B, d, h, w] summed codes.
        schedule: the size.
        pictures: IMAGE [B, H, W, 3], decoded; None where nobody has.
        stack: the bits once more, as the engine takes them; None where it cannot.
    """

    prompts: tuple[str, ...]
    runs: tuple[RunReport, ...]
    flop_shares: tuple[float, ...]
    bits: tuple[dict[int, Tensor], ...]
    latents: Tensor
    schedule: ScaleSchedule
    kept: dict[int, Tensor] = field(default_factory=dict)
    pictures: Tensor | None = None
    stack: BitStack | None = None

    @property
    def latent(self) -> dict[str, Any]:
        """The pictures as LATENT, with their bits for the sampler's *latent_image*."""
        from .sources import BITS

        return {"samples": self.latents, **({BITS: self.stack} if self.stack else {})}

    @property
    def shown(self) -> dict[str, Any]:
        """What a node sends to its panel, and to other programs."""
        return {"toprovar_report": [self.to_json()], "text": [str(self)]}

    def run_of(self, image: int) -> int:
        """Which of the runs drew an image."""
        ends = accumulate(run.images for run in self.runs)
        return next(number for number, end in enumerate(ends) if image < end)

    def seconds(self, image: int) -> float:
        """Of the scale loop, for one image."""
        from ...toprovar.report_words import loop_seconds

        run = self.runs[self.run_of(image)]
        return loop_seconds(run) / run.images

    def to_json(self) -> dict[str, Any]:
        return {
            "prompts": list(self.prompts), "images": len(self.bits),
            "runs": [{**run.to_json(), "flop_share": share}
                     for run, share in zip(self.runs, self.flop_shares, strict=True)],
        }

    def __repr__(self) -> str:  # for ComfyUI's Preview Any, and its error reports
        """What was run, in words."""
        from ...toprovar.printable import safe_lines
        from ...toprovar.report_words import told_time
        from ...toprovar.sparsity.plan_table import percent

        height, width = self.schedule.image_size
        lines = [f"{len(self.bits)} of {width} x {height} pixels"]
        images = 0
        for run, share in zip(self.runs, self.flop_shares, strict=True):
            head = _numbered(images, run.images) if len(self.runs) > 1 else ""
            images += run.images
            done = sum(1 for s in run.scales if s.run)
            work = run.token_layers / run.dense_token_layers
            lines += [
                f"{head}{run.plan}, {done} of {len(run.scales)} scales, {run.device}, {run.dtype}",
                told_time(run),
                f"{percent(share)} of a dense run's FLOPs, {percent(work)} of its token-layers, "
                f"KV cache {run.kv_bytes / 2**20:.1f} MiB",
                *([f"memory: {run.memory}"] if run.memory else ()),
                *(f"note: {note}" for note in run.notes),
            ]
        return safe_lines(lines)


def run_plan(model: Infinity, plan: PlanChoice | None, schedule: ScaleSchedule, guided: bool
             ) -> Planner:
    """The plan that was given, or the automatic choice, which the pipeline keeps."""
    from ...toprovar.planning import AUTO, make_plan

    if plan is not None:
        return plan.plan
    return make_plan(model.pipeline, AUTO, schedule, guided=guided)


@dataclass(frozen=True)
class Drawing:
    """What every node that draws has in common.

    Attributes:
        schedule: the size.
        texts: of each picture.
        guided: whether there are unconditional rows.
        plan: None = the engine's own way, such as a draft's plan.
        preview: whether a small picture is shown after every scale.
        overlay: whether dropped tokens are to be shown.
        last: the last scale that is drawn; None = all are.
        pasted: whether the engine puts drawn pixels into a given picture, and so decodes.
        edited, away: see ``Request``.
    """

    model: Infinity
    schedule: ScaleSchedule
    texts: tuple[str, ...]
    guided: bool
    plan: Planner | None
    preview: bool = True
    overlay: bool = False
    last: int | None = None
    pasted: bool = False
    edited: bool = False
    away: bool = False

    @contextmanager
    def begun(self) -> Iterator[tuple[dict[str, Any], Watcher]]:
        """Room for the run is made. Gives arguments of a call of the pipeline that draws it, and
        what watches it.

        Raises:
            ValueError: the plan is of another model or size.
        """
        from ...toprovar.sparsity.plan import SparsityPlan
        from ...toprovar.sparsity.planner import decodes

        model, chosen, total = self.model, self.plan, len(self.texts)
        fixed = chosen if isinstance(chosen, SparsityPlan) else None
        if fixed is not None:  # said before anything is moved to the GPU
            fixed.check_fits(model.pipeline.transformer.shape, self.schedule)
        steps = range(len(self.schedule))[: None if self.last is None else self.last + 1]
        scales = sum(fixed.scales[s].run for s in steps) if fixed is not None else len(steps)
        draws = self.decoded and self.last is None
        placed = model.place(
            self.schedule, total, self.guided, chosen, pictures=draws, edited=self.edited,
            away=self.away,
            with_vae=self.preview or self.edited or (chosen is not None and decodes(chosen)))
        adaptive = chosen is not None and chosen.adaptive
        calls = total if adaptive else -(-total // (placed.images if placed else total))
        watcher = Watcher(model, scales * calls, self.preview, self.overlay)
        yield {"schedule": self.schedule, "plan": chosen, "options": model.options,
               "check": stop_if_interrupted, "on_scale": watcher.on_scale}, watcher
        watcher.finish()

    @property
    def decoded(self) -> bool:
        """Whether the engine decodes: the VAE may work elsewhere than the transformer."""
        return self.model.decodes or self.pasted

    def __call__(self, call: Callable[..., InfinityPipelineOutput]) -> tuple[Report, Tensor]:
        """Draw.

        Args:
            call: of the pipeline, that takes the arguments that are the same for all nodes.

        Returns:
            what was done, and the pictures as IMAGE.
        """
        from ...toprovar.sparsity.cost import count

        model = self.model
        with self.begun() as (how, watcher):
            done = call(output_type="pt" if self.decoded else "latent", **how)
        latents = between(torch.cat(watcher.codes))
        pictures = unit_to_comfy(done.images) if self.decoded else model.vae.decode(latents)
        runs = tuple(done.reports)
        shape = model.pipeline.transformer.shape
        shares = tuple(count(plan_used(run), shape, self.guided).flop_share for run in runs)
        return Report(self.texts, runs, shares, _by_image(watcher.bits), latents, self.schedule,
                      watcher.kept, pictures, self._stack(watcher)), pictures

    def _stack(self, watcher: Watcher) -> BitStack | None:
        """The bits of all pictures; None where their plans have left out different scales."""
        try:
            return watcher.recorder.stack(self.schedule, len(self.schedule))
        except ValueError:
            return None


def plan_used(run: RunReport) -> SparsityPlan:
    """The plan as it was at the end; a run that a node reports always has one. Scales after the
    last that was drawn are left out."""
    plan, done = run.used_plan, len(run.scales)
    assert plan is not None
    if done == len(plan.scales):
        return plan
    return plan.model_copy(update={"scales": tuple(
        step if s < done else step.model_copy(update={"run": False})
        for s, step in enumerate(plan.scales))})


def _numbered(before: int, count: int) -> str:
    """Which images a run drew, as the beginning of a line."""
    if count == 1:
        return f"image {before + 1}: "
    return f"images {before + 1} to {before + count}: "


def _by_image(bits: list[dict[int, Tensor]]) -> tuple[dict[int, Tensor], ...]:
    """Of each image, from those of each run [B, N, d]."""
    found: list[dict[int, Tensor]] = []
    for run in bits:
        count = next(iter(run.values())).shape[0]
        found += [{scale: b[i : i + 1] for scale, b in run.items()} for i in range(count)]
    return tuple(found)

"""One sampling run for a node, and the report that travels from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .host import between, stop_if_interrupted, unit_to_comfy
from .infinity import Infinity, PlanChoice, Prompts
from .watching import Watcher

if TYPE_CHECKING:
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
    """

    prompts: tuple[str, ...]
    runs: tuple[RunReport, ...]
    flop_shares: tuple[float, ...]
    bits: tuple[dict[int, Tensor], ...]
    latents: Tensor
    schedule: ScaleSchedule
    kept: dict[int, Tensor] = field(default_factory=dict)
    pictures: Tensor | None = None

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


def draw(model: Infinity, positive: Prompts, negative: Prompts | None, plan: PlanChoice | None,
         schedule: ScaleSchedule, *, seed: int, images: int, cfg: float, tau: float, top_p: float,
         preview: bool, overlay: bool) -> tuple[Report, Tensor]:
    """Sample ``images`` pictures of each prompt; image i is drawn from seed + i.

    Args:
        cfg, tau: 0 = the model's own.

    Returns:
        what was done, and the pictures as IMAGE.
    """
    from ...toprovar.sparsity.cost import count
    from ...toprovar.sparsity.plan import SparsityPlan
    from ...toprovar.sparsity.planner import decodes

    guided = model.guided(cfg)
    chosen = run_plan(model, plan, schedule, guided)
    fixed = chosen if isinstance(chosen, SparsityPlan) else None
    shape = model.pipeline.transformer.shape
    if fixed is not None:
        fixed.check_fits(shape, schedule)  # said before anything is moved to the GPU
    total = len(positive.features) * images
    scales = sum(s.run for s in fixed.scales) if fixed is not None else len(schedule)
    placed = model.place(schedule, total, guided, chosen, pictures=model.decodes,
                         with_vae=preview or decodes(chosen))
    calls = total if chosen.adaptive else -(-total // (placed.images if placed else total))
    watcher = Watcher(model, scales * calls, preview, overlay)
    done = model.pipeline(
        prompt_features=positive.features,
        negative_features=None if negative is None else negative.features,
        guidance_scale=cfg or None, tau=tau or None, top_p=top_p, seed=seed,
        num_images_per_prompt=images, schedule=schedule, plan=chosen,
        options=model.options,
        output_type="pt" if model.decodes else "latent",
        check=stop_if_interrupted, on_scale=watcher.on_scale,
    )
    latents = between(torch.cat(watcher.codes))
    pictures = unit_to_comfy(done.images) if model.decodes else model.vae.decode(latents)
    runs = tuple(done.reports)
    shares = tuple(count(plan_used(run), shape, guided).flop_share for run in runs)
    report = Report(
        tuple(t for t in positive.texts for _ in range(images)), runs, shares,
        _by_image(watcher.bits), latents, schedule, watcher.kept,
    )
    return report, pictures


def plan_used(run: RunReport) -> SparsityPlan:
    """The plan as it was at the end; a run that the sampler reports always has one."""
    assert run.used_plan is not None
    return run.used_plan


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

"""One sampling run for a node, and the report that travels from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .host import manager, stop_if_interrupted
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
        runs: the engine's reports: one, or one for each image where each was planned by itself.
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
        return min(image, len(self.runs) - 1)

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
        for number, (run, share) in enumerate(zip(self.runs, self.flop_shares, strict=True)):
            head = f"image {number + 1}: " if len(self.runs) > 1 else ""
            done = sum(1 for s in run.scales if s.run)
            work = run.token_layers / run.dense_token_layers
            lines += [
                f"{head}{run.plan}, {done} of {len(run.scales)} scales, {run.device}, {run.dtype}",
                told_time(run),
                f"{percent(share)} of a dense run's FLOPs, {percent(work)} of its token-layers, "
                f"KV cache {run.kv_bytes / 2**20:.1f} MiB",
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
         preview: bool, overlay: bool) -> Report:
    """Sample ``images`` pictures of each prompt; image i is drawn from seed + i.

    Args:
        cfg, tau: 0 = the model's own.
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
    calls = total if chosen.adaptive else 1
    scales = sum(s.run for s in fixed.scales) if fixed is not None else len(schedule)
    rows = (2 if guided else 1) * (total if calls == 1 else 1)
    model.wake(schedule, rows, fixed, with_vae=preview or decodes(chosen))
    watcher = Watcher(model, scales * calls, preview, overlay)
    done = model.pipeline(
        prompt_features=positive.features,
        negative_features=None if negative is None else negative.features,
        guidance_scale=cfg or None, tau=tau or None, top_p=top_p, seed=seed,
        num_images_per_prompt=images, schedule=schedule, plan=chosen,
        options=model.options, output_type="latent",
        check=stop_if_interrupted, on_scale=watcher.on_scale,
    )
    runs = tuple(done.reports)
    shares = tuple(count(plan_used(run), shape, guided).flop_share for run in runs)
    return Report(
        tuple(t for t in positive.texts for _ in range(images)), runs, shares,
        _by_image(watcher.bits), done.images.to(manager.intermediate_device()), schedule,
        watcher.kept,
    )


def plan_used(run: RunReport) -> SparsityPlan:
    """The plan as it was at the end; a run that the sampler reports always has one."""
    assert run.used_plan is not None
    return run.used_plan


def _by_image(bits: list[dict[int, Tensor]]) -> tuple[dict[int, Tensor], ...]:
    """Of each image, from those of each run [B, N, d]."""
    found: list[dict[int, Tensor]] = []
    for run in bits:
        count = next(iter(run.values())).shape[0]
        found += [{scale: b[i : i + 1] for scale, b in run.items()} for i in range(count)]
    return tuple(found)

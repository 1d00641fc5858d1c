"""SkipVAR's decision models, fitted to a model's own pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ....models.fingerprint import model_fingerprint
from ....pipeline import InfinityPipeline
from ....schedules import ScaleSchedule, get_schedule
from ....sparsity.strategies.skipvar.decision import TARGET, DecisionModels
from ...measure import OnImage
from .decisions import fit_decision
from .measure import measure_policies, runs_of

__all__ = ["check", "fit", "runs_of", "told"]


def check() -> None:
    """Refuse before anything is drawn."""
    try:
        import sklearn.linear_model  # noqa: F401
    except ImportError:
        raise ValueError("fitting SkipVAR's decisions needs scikit-learn: "
                         "pip install 'toprovar[analysis]'") from None


def fit(
    pipeline: InfinityPipeline, prompts: Sequence[str], seeds: Sequence[int] = (0,), *,
    schedules: Sequence[ScaleSchedule] = (), target: float = TARGET, batch: int = 1,
    provenance: dict[str, Any] | None = None, on_images: OnImage | None = None, **how: Any,
) -> DecisionModels:
    """Measure the policies on prompts and seeds and fit a decision model for each schedule.

    Args:
        schedules: default: square, at the pipeline's default budget. Pixel budgets must differ.
        target: SSIM to the dense picture to be kept.
        batch: images at once; provenance: added to what is recorded.
        on_images: told of every finished run, ``runs_of`` for each picture.
        how: anything else the pipeline takes.
    """
    check()
    schedules = schedules or [get_schedule("1.0", pipeline.config["default_pn"])]
    if len({s.pn for s in schedules}) < len(schedules):
        raise ValueError("the schedules' pixel budgets must differ, got "
                         f"{', '.join(s.pn for s in schedules)}")
    model = model_fingerprint(pipeline.transformer)
    return DecisionModels({
        schedule.pn: fit_decision(
            measure_policies(pipeline, prompts, seeds, schedule, batch=batch,
                             on_images=on_images, **how),
            target, model, provenance,
        )
        for schedule in schedules
    })


def told(found: DecisionModels) -> Iterator[str]:
    """Each schedule's figures."""
    for model in found.root.values():
        yield from _told(model.pn or "", model.provenance)


def _told(pn: str, told: dict[str, Any]) -> Iterator[str]:
    yield f"\n{pn}: {told['pictures']} pictures of {told['prompts']} prompts"
    yield "mean SSIM to dense: " + ", ".join(f"{k} {v:.3f}" for k, v in told["mean_ssim"].items())
    yield (f"labels: skip {_counts(told['skip_labels'])}; of those with 0, without guidance "
           f"{_counts(told['uncond_labels'])}")
    held = told["held_out"]
    if held is None:
        yield "one prompt: nothing could be held out"
        return
    line = (f"held-out prompts: skip right {held['skip_accuracy']:.2f} (the commonest label "
            f"{held['skip_commonest']:.2f})")
    if held["uncond_accuracy"] is not None:
        line += (f", guidance right {held['uncond_accuracy']:.2f} (the commonest "
                 f"{held['uncond_commonest']:.2f})")
    yield (f"{line}; mean SSIM {held['mean_ssim']:.3f}, {held['at_target']:.0%} at the target; "
           f"decided skip {_counts(held['skip'])}, without guidance {_counts(held['uncond'])}")


def _counts(counts: dict[str, int]) -> str:
    return " ".join(f"{label}:{n}" for label, n in counts.items())

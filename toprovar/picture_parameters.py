"""What a picture says of how it was made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .sampling.report import RunReport

KEPT = ("prompt", "negative_prompt", "prompt_weights", "plan", "plan_request", "sparsity_plan",
        "params", "vae_tile", "dtype", "device", "attention_backend", "versions")
"""Of a run, in a picture."""
PYTHON = "Python"
"""Among the parameters of an edit, in the place of the command that made it."""


def as_json(report: RunReport, plan: str | None) -> dict[str, Any]:
    """A finished run as JSON without what needs times.

    Args:
        plan: what was asked for; None = nothing, and the plan is not told.
    """
    from .sparsity.plan_file import plan_to_json

    assert report.used_plan is not None
    own = {} if plan is None else {"sparsity_plan": plan_to_json(report.used_plan)}
    return {**report.to_json(), **own}


def parameters_of(report: dict[str, Any]) -> dict[str, Any]:
    """What is needed to make the picture again."""
    return {key: report[key] for key in KEPT if key in report}

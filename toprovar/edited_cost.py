"""What an edited plan costs, for a widget that shows it while somebody paints."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from .models.config import TransformerConfig
from .plan_edits import apply_edits
from .sparsity.cost import count
from .sparsity.plan_file import plan_from_json


def counted_for(shape: TransformerConfig, guided: bool) -> dict[str, Any]:
    """What ``edited_flop_share`` must be told of a model, as JSON."""
    return {"shape": asdict(shape), "guided": guided}


def edited_flop_share(asked: Any) -> float:
    """FLOPs of a plan with edits, as a share of a dense run's.

    Args:
        asked: from outside: {"plan": a plan as JSON, "edits": their text, "shape": and "guided": of
            ``counted_for``}.

    Raises:
        ValueError: something is missing or not sound, in words.
    """
    if not isinstance(asked, dict) or not {"plan", "edits", "shape", "guided"} <= asked.keys():
        raise ValueError("expected an object with plan, edits, shape and guided")
    if not isinstance(asked["edits"], str) or not isinstance(asked["guided"], bool):
        raise ValueError("expected edits as text and guided as true or false")
    plan = apply_edits(plan_from_json(asked["plan"]), asked["edits"])
    try:
        shape = TransformerConfig(**asked["shape"])
    except TypeError as error:
        raise ValueError(f"shape is none of a model: {error}") from None
    if (shape.depth, shape.width) != (plan.model.depth, plan.model.width):
        raise ValueError("the plan was made for a model of another shape")
    return count(plan, shape, asked["guided"]).flop_share

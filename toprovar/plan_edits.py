"""Edits of a plan as the planner's widget stores them: JSON that survives another size.

    {"keep": {"8": {"3": 0.5, "4": 0}}, "run": {"9": false}}

``keep``: scale -> layer -> share of tokens kept, 0 (layer not run) to 1 (all). ``run``: scale ->
whether it is run at all. Scales and layers count from 0; what is not named stays. Where dropped
tokens exit, all layers keep the share that is named last; where they rejoin later on, all layers
until then; where groups of layers work on mixtures, those of a group keep as many. Tokens for a
layer that a shortcut leaves out end the shortcut, and where some tokens are dropped, this scale and
later ones see all keys in place of a window of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from .reading import parse_json

if TYPE_CHECKING:
    from .sparsity.plan import SparsityPlan

LONGEST = 1 << 20


def edits_error(text: Any) -> str | None:
    """What is wrong with the text of the edits, in words; None if nothing is."""
    try:
        parse_edits(text if isinstance(text, str) else "")
    except ValueError as error:
        return str(error)
    return None


def parse_edits(text: str) -> dict[str, dict[int, Any]]:
    """{"keep": {scale: {layer: share}}, "run": {scale: bool}}; empty text = no edits.

    Raises:
        ValueError: naming the entry at fault.
    """
    if not text.strip():
        return {"keep": {}, "run": {}}
    if len(text) > LONGEST:
        raise ValueError(f"edits are {len(text)} characters long, which is no set of edits: "
                         "clear them")
    try:
        values = parse_json(text)
    except ValueError as error:
        raise ValueError(f"edits are {error}: clear them, or write them as in the "
                         "help page") from None
    if not isinstance(values, dict) or not values.keys() <= {"keep", "run"}:
        raise ValueError('edits must look like {"keep": {"8": {"3": 0.5}}, "run": {"9": false}}')
    keep: dict[int, dict[int, float]] = {}
    for scale, layers in _table(values, "keep"):
        if not isinstance(layers, dict):
            raise ValueError(f"edits: scale {scale} of keep must name layers and their shares")
        keep[scale] = {
            _number("layer", layer): _share(scale, layer, share)
            for layer, share in layers.items()
        }
    run: dict[int, bool] = {}
    for scale, flag in _table(values, "run"):
        if not isinstance(flag, bool):
            raise ValueError(f"edits: scale {scale} of run must be true or false, got {flag!r}")
        run[scale] = flag
    return {"keep": keep, "run": run}


def apply_edits(plan: SparsityPlan, text: str) -> SparsityPlan:
    """``plan`` with the edits; the same object where there are none.

    Raises:
        ValueError: an edit that is not of this plan, or that makes it unsound.
    """
    from .ops.token_select import feasible_minimum
    from .sparsity.plan_file import plan_from_json, plan_to_json

    edits = parse_edits(text)
    if not edits["keep"] and not edits["run"]:
        return plan
    values = plan_to_json(plan)
    count, depth = len(plan.scales), plan.model.depth
    for scale, layers in edits["keep"].items():
        _within("scale", scale, count)
        step, tokens = values["scales"][scale], plan.scales[scale].tokens
        kept = list(plan.scales[scale].keep)
        for layer, share in layers.items():
            _within("layer", layer, depth)
            kept[layer] = math.ceil(round(share * tokens, 6))
        passed_by = plan.scales[scale].shortcut
        if any(kept[:passed_by]):
            kept[:passed_by] = [n or tokens for n in kept[:passed_by]]
            passed_by = step["shortcut"] = 0
        if step.get("dropped") == "exit" and layers:  # who leaves a scale does so in all layers
            share = kept[next(reversed(layers))]
            if not share and next(reversed(layers)) >= passed_by:
                share, step["run"] = tokens, False
            kept = [0] * passed_by + [share or tokens] * (depth - passed_by)
        if step.get("dropped") == "shortcut" and layers:
            share, rejoin = kept[next(reversed(layers))], plan.scales[scale].rejoin
            kept = [0] * passed_by + [share] * (rejoin - passed_by) + [tokens] * (depth - rejoin)
            if share in (0, tokens):  # all take one way, or the other
                step["shortcut"] = passed_by if share else rejoin
                step.pop("dropped")
                step.pop("guide", None)
        special = plan.scales[scale].special
        for start, end in zip(special.starts, special.ends, strict=True) if special else ():
            named = [layer for layer in layers if start <= layer <= end]
            if named:  # a group works on as many mixtures in every layer, at least one
                kept[start : end + 1] = [max(kept[named[-1]], 1)] * (end + 1 - start)
        step["keep"] = kept
        if step.get("region"):  # fewer tokens cannot give every region as many
            smallest = min((n for n in kept if 0 < n < tokens), default=tokens)
            possible = feasible_minimum(plan.scales[scale].grid, smallest, step["region"])
            step["min_per_region"] = min(step["min_per_region"], possible)
            if not possible:
                del step["region"], step["min_per_region"]
    for scale, flag in edits["run"].items():
        _within("scale", scale, count)
        values["scales"][scale]["run"] = flag
    _close_windows(values["scales"])
    values.pop("predicted", None)  # of the plan before
    values["parameters"] = {**values.get("parameters", {}), "edited": True}
    return plan_from_json(values, "the edited plan")


def _close_windows(scales: list[dict[str, Any]]) -> None:
    """Scales see all keys where it is no longer known which part of the picture these are from."""
    scattered = False
    for step in scales:
        tokens = math.prod(step["grid"])
        some = any(n not in (0, tokens) for n in step["keep"])
        if scattered or some:
            step.pop("window", None)
        if step.get("run", True) and (some or step.get("special") or step.get("cache")):
            scattered = True


def _table(values: dict[str, Any], name: str) -> list[tuple[int, Any]]:
    table = values.get(name, {})
    if not isinstance(table, dict):
        raise ValueError(f"edits: {name} must name scales, got {table!r}")
    return [(_number("scale", key), value) for key, value in table.items()]


def _number(what: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"edits: {text!r} is no {what}: {what}s are counted from 0")
    return int(text)


def _share(scale: int, layer: str, share: Any) -> float:
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
        raise ValueError(f"edits: scale {scale}, layer {layer} must keep a share between 0 and 1, "
                         f"got {share!r}")
    return float(share)


def _within(what: str, number: int, count: int) -> None:
    if number >= count:
        raise ValueError(f"edits name {what} {number}, but the plan has {count} {what}s: clear "
                         "the edits, or go back to the size and model they were made for")

"""The parts of ``plan-file.md`` and ``calibration-file.md``: the fields of the two files.

Names, types, bounds and defaults are those of the models that check the files when they are read.
What a field means stands in the docstrings of these models, under "Attributes".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel

from toprovar.entropy import calibration as calibrations
from toprovar.entropy import schedule_entry
from toprovar.sparsity import plan as plans
from toprovar.sparsity import scale_plan, special

from .markdown import anchor, cell, docstring, table
from .source import Found, find

PLAN_PARTS = (plans.ModelTag, plans.PredictedCost, special.AttentionWindow, special.Mixtures)
CALIBRATION_PARTS = (schedule_entry.ScaleStatistics, schedule_entry.Choice,
                     schedule_entry.SelectionWorth, schedule_entry.Spread)
HEADINGS = {"ScalePlan": "Fields of a scale", "ScheduleEntry": "Fields of an entry"}
"""Of models that have a heading of their own in the page."""


def plan() -> str:
    return _fields(plans.SparsityPlan)


def scale() -> str:
    return _fields(scale_plan.ScalePlan)


def plan_parts() -> str:
    return _parts(PLAN_PARTS)


def calibration() -> str:
    return _fields(calibrations.Calibration)


def entry() -> str:
    return _fields(schedule_entry.ScheduleEntry)


def calibration_parts() -> str:
    return _parts(CALIBRATION_PARTS)


def _parts(models: Sequence[type[BaseModel]]) -> str:
    return "\n\n".join(f"### {model.__name__}\n\n{_about(model)}\n\n{_fields(model)}"
                       for model in models)


def _about(model: type[BaseModel]) -> str:
    return "\n\n".join(map(docstring, _source(model).docstring.paragraphs))


@cache
def _source(model: type[BaseModel]) -> Found:
    found = find(model.__module__, model.__name__)
    assert found is not None
    return found


def _fields(model: type[BaseModel]) -> str:
    """A line for every field.

    Raises:
        ValueError: the docstring lacks a field, or explains one that is not there.
    """
    about = {name: text for names, text in _source(model).docstring.entries.get("Attributes", ())
             for name in names}
    about.pop("added", None)  # a class variable, which is not in the file
    schema = model.model_json_schema()
    if about.keys() != schema["properties"].keys():
        differ = sorted(about.keys() ^ schema["properties"].keys())
        raise ValueError(f"the docstring of {model.__name__} and its fields differ in {differ}")
    required = schema.get("required", ())
    return table(("field", "type", "default", "what it says"), [
        (f"`{name}`", _kind(how), "" if name in required else _default(how),
         _json(cell(about[name]))) for name, how in schema["properties"].items()])


def _json(text: str) -> str:
    """Values of Python as JSON spells them."""
    words = {"None": "`null`", "True": "`true`", "False": "`false`"}
    return re.sub(r"\b(None|True|False)\b", lambda match: words[match[0]], text)


def _default(how: Mapping[str, Any]) -> str:
    return f"`{json.dumps(how.get('default', {}))}`"


def _kind(how: Mapping[str, Any]) -> str:
    """A type of the JSON schema in words."""
    if "$ref" in how:
        name: str = how["$ref"].rpartition("/")[2]
        return f"[{name}](#{anchor(HEADINGS.get(name) or name)})"
    if "const" in how:
        return f"`{json.dumps(how['const'])}`"
    if "enum" in how:
        return ", ".join(f"`{json.dumps(one)}`" for one in how["enum"])
    if "anyOf" in how:
        return " or ".join(map(_kind, how["anyOf"]))
    if how.get("type") == "array":
        if "prefixItems" in how:
            return "[" + ", ".join(map(_kind, how["prefixItems"])) + "]"
        most = f", at most {how['maxItems']}" if "maxItems" in how else ""
        return f"list of {_kind(how['items'])}{most}"
    if how.get("type") == "object":
        inner = how.get("additionalProperties")
        return f"object, of {_kind(inner)}" if isinstance(inner, Mapping) else "object"
    return {"integer": "whole number", "number": "number", "string": "text", "boolean": "boolean",
            "null": "`null`"}[how["type"]] + _bounds(how)


def _bounds(how: Mapping[str, Any]) -> str:
    low, high = how.get("minimum"), how.get("maximum")
    if low is not None and high is not None:
        return f", {_number(low)} to {_number(high)}"
    told = [f"{words} {_number(how[key])}" for key, words in (
        ("minimum", "at least"), ("exclusiveMinimum", "above"), ("maximum", "at most"),
        ("exclusiveMaximum", "below")) if key in how]
    return f", {' and '.join(told)}" if told else ""


def _number(value: float) -> str:
    """Large powers of two are written as such."""
    size = abs(int(value))
    if size >= 1 << 16 and size & (size - 1) == 0:
        return f"{'-' if value < 0 else ''}2^{size.bit_length() - 1}"
    return f"{value:g}"

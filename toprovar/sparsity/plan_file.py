"""Plans as files: JSON that can be read, shared and checked against a schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..files import replace_file
from ..picture_files import picture_text
from ..reading import parse_json, read_json, reading
from .plan import PLAN_VERSION, SparsityPlan

MOST_BYTES = 2 << 20
"""A plan of 64 layers and 15 scales takes some 20 kB; what is larger is no plan."""
REMEDY = "make one with 'toprovar plan make'"


def save_plan(plan: SparsityPlan, path: str | Path) -> None:
    """Write a plan as a JSON file. The file is complete or absent."""
    replace_file(path, (json.dumps(plan_to_json(plan), indent=1) + "\n").encode())


def load_plan(path: str | Path) -> SparsityPlan:
    """Read a plan from a JSON file.

    Raises:
        ValueError: the file is missing, too large, or no valid plan; the message names it and the
            first fault.
    """
    with reading(path, "sparsity plan", REMEDY):
        values = read_json(path, MOST_BYTES)
    return plan_from_json(values, str(path))


def load_plan_of_picture(path: str | Path) -> SparsityPlan:
    """The plan that a picture of ``toprovar generate`` was made with; a ValueError as above. The
    picture itself is not decoded."""
    with reading(path, "picture with a sparsity plan",
                 "give a picture of 'toprovar generate --plan'"):
        text = picture_text(Path(path))
        if text is None:
            raise ValueError("it holds no sparsity plan (it is not by 'toprovar generate')")
        if len(text) > MOST_BYTES:
            raise ValueError(f"its text is longer than {MOST_BYTES} characters, which none is")
        about = parse_json(text)
        if not isinstance(about, dict) or about.get("sparsity_plan") is None:
            raise ValueError("it holds no sparsity plan (it was made without --plan)")
    return plan_from_json(about["sparsity_plan"], str(path))


def plan_to_json(plan: SparsityPlan) -> dict[str, Any]:
    return plan.model_dump(mode="json", exclude_defaults=True) | {"version": plan.version}


def plan_from_json(values: Any, where: str = "plan") -> SparsityPlan:
    """Check and build; a ValueError names the first fault."""
    with reading(where, "sparsity plan", REMEDY):
        if not isinstance(values, dict) or not isinstance(values.get("scales"), list | tuple):
            raise ValueError("it has no 'scales'")
        if values.get("version") != PLAN_VERSION:
            raise ValueError(f"plan version {values.get('version')!r}, this program reads version "
                             f"{PLAN_VERSION}: use the release that wrote it, or a newer one")
        return SparsityPlan.model_validate_json(json.dumps(values, allow_nan=False))


def plan_schema() -> dict[str, Any]:
    """JSON schema of a plan file (shipped as data/sparsity-plan.schema.json)."""
    schema = SparsityPlan.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}

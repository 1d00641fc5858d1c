"""Plans as files: JSON that can be read, shared and checked against a schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..files import replace_file
from .plan import PLAN_VERSION, SparsityPlan

MOST_BYTES = 16 << 20
"""A plan of 64 layers and 15 scales takes some 20 kB; what is larger is no plan."""


def save_plan(plan: SparsityPlan, path: str | Path) -> None:
    """Write ``plan``; the file is whole or absent."""
    replace_file(path, (json.dumps(plan_to_json(plan), indent=1) + "\n").encode())


def load_plan(path: str | Path) -> SparsityPlan:
    """Read a plan; a ValueError names the first fault."""
    path = Path(path)
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"{path}: {path.stat().st_size} bytes are too many for a sparsity plan")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not a sparsity plan, because not JSON ({error})") from None
    return plan_from_json(values, str(path))


def plan_to_json(plan: SparsityPlan) -> dict[str, Any]:
    return plan.model_dump(mode="json", exclude_defaults=True) | {"version": plan.version}


def plan_from_json(values: Any, where: str = "plan") -> SparsityPlan:
    """Check and build; a ValueError names the first fault."""
    if not isinstance(values, dict) or "scales" not in values:
        raise ValueError(f"{where}: not a sparsity plan (no 'scales'); make one with "
                         "'toprovar plan'")
    if values.get("version") != PLAN_VERSION:
        raise ValueError(f"{where}: plan version {values.get('version')!r}, this program reads "
                         f"version {PLAN_VERSION}: use the release that wrote it, or a newer one")
    try:
        return SparsityPlan.model_validate_json(json.dumps(values))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{where}: {place + ': ' if place else ''}{message}") from None


def plan_schema() -> dict[str, Any]:
    """JSON schema of a plan file (shipped as data/sparsity-plan.schema.json)."""
    schema = SparsityPlan.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}

"""The workflows in the box, by name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.comfyui.server import ROOT

TEMPLATES = sorted((ROOT / "example_workflows").glob("*.json"),
                   key=lambda path: int(path.stem.split(" ", 1)[0]))
"""In the order of their numbers, which ComfyUI's browser of templates shows them in."""


def short(path: Path) -> str:
    """The name without its number: "1 Quick start.json" is quick-start."""
    return re.sub(r"^\d+ ", "", path.stem).lower().replace(" ", "-")


def template(name: str) -> dict[str, Any]:
    """The workflow of a short name."""
    (path,) = [path for path in TEMPLATES if short(path) == name]
    return json.loads(path.read_text("utf-8"))

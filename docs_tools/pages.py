"""The pages and their generated parts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from . import cards, commands, files, names, nodes

DOCS = Path(__file__).resolve().parents[1] / "docs"
REFERENCE = DOCS / "reference"
ELSEWHERE = {"cards.md": DOCS / "research"}
"""Folders of pages that are no reference."""
PAGES: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "nodes.md": {"index": nodes.index, "nodes": nodes.every_node},
    "command-line.md": {"index": commands.index, "commands": commands.every_command,
                        "shared options": commands.shared_options},
    "python.md": {"index": names.index, "names": names.every_name,
                  "types": names.types},
    "plan-file.md": {"plan": files.plan, "scale": files.scale, "parts": files.plan_parts},
    "calibration-file.md": {"calibration": files.calibration, "entry": files.entry,
                            "parts": files.calibration_parts},
    "cards.md": {"collected": cards.collected, "projections": cards.projections,
                 "stages": cards.stages, "pictures": cards.pictures, "errors": cards.errors,
                 "shares": cards.shares, "vendor": cards.vendor},
}
"""The generated parts of each page, by the names in its comments."""

END = "<!-- generated: end -->"
_PART = re.compile(r"<!-- generated: (?P<name>(?!end)[a-z ]+) -->\n.*?" + END, re.DOTALL)


def path_of(page: str) -> Path:
    """Where a page lies."""
    return ELSEWHERE.get(page, REFERENCE) / page


def made(page: str, text: str) -> str:
    """The text of a page with its generated parts as the code has them now.

    Raises:
        ValueError: the page lacks a part, has one twice, or has one that nothing makes.
    """
    parts = PAGES[page]
    found = [match["name"] for match in _PART.finditer(text)]
    if sorted(found) != sorted(parts):
        raise ValueError(f"{page} has the generated parts {found}, expected {list(parts)}")

    def part(match: re.Match[str]) -> str:
        content = parts[match["name"]]().strip()
        return f"<!-- generated: {match['name']} -->\n\n{content}\n\n{END}"

    return _PART.sub(part, text)

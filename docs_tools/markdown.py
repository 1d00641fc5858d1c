"""Texts of the code as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_ROLE = re.compile(r":[a-z]+:`~?([^`]+)`")


def plain(text: str) -> str:
    """A text of a parser or a node in a page: line breaks are spaces, and what would be markup is
    shown as it stands."""
    return re.sub(r"([\\`*<\[\]|])", r"\\\1", " ".join(text.split()))


def docstring(text: str) -> str:
    """A part of a docstring: double backquotes and references become code."""
    text = _ROLE.sub(lambda match: f"`{match[1].rpartition('.')[2]}`", " ".join(text.split()))
    return text.replace("``", "`")


def cell(text: str) -> str:
    """An entry of a docstring as a sentence that begins with a capital."""
    text = docstring(text)
    return text[:1].upper() + text[1:]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells hold no line breaks, and vertical lines in them are kept."""
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(re.sub(r"(?<!\\)\|", r"\\|", cell) for cell in cells) + " |"

    return "\n".join([line(head), "|" + "---|" * len(head), *map(line, rows)])


def anchor(heading: str) -> str:
    """The name under which GitHub can link to a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


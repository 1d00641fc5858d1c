"""Words of README.md, docs/, the help pages and the examples: no sentence is too long to follow,
and none uses private words. ``make lint`` checks spelling (codespell) and common faults of style
(proselint)."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LONGEST, LONGEST_IN_RESEARCH = 45, 60
"""Words of a sentence; research notes are written for readers of papers."""
PRIVATE = {
    r"(what|nothing|none|it) (is|was) asked for": "say what was requested, or which setting it is",
    r"as (they|it) (were|was|is|are) asked": "say which setting decides it",
    r"gone on from": "continues from",
    r"held against": "compared with",
    r"(?<!pareto )\bfront\b(?! (of|end|page))": "name the plans that no other plan beats",
    r"leaps?": "shortcut",
    r"of the predicted": "say of which predicted figure",
    r"where bits are defined": "say on which devices",
    r"what (the model|a model|models|weights|it) (itself )?bears?": "what can be left out",
    r"more than that takes": "only as far as needed",
    r"but for what": "except for",
    r"must be told|is told what": "say who has to set what",
    r"gets? by on": "say what fits where",
    r"comes when it is its turn": "waits until it is needed",
    r"look that": "check that",
}
"""Phrases that a reader cannot look up, by what to say instead."""
END = re.compile(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)[\"')*_\]]*\s+(?=[\"'(*_]*[A-Z0-9])")
RIDDLE = re.compile(r"What (?!is\b|are\b|does\b|do\b|can\b|to\b)[^?:]*\.")
"""A sentence whose subject is a clause: "What the first layers would do is predicted." """


def pages() -> list[Path]:
    """All English pages that people read."""
    found = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "web/docs").glob("*.md"),
             *(ROOT / "examples").rglob("*.md"), *(ROOT / "examples").rglob("*.py"),
             *(ROOT / "examples").rglob("*.ipynb")]
    return sorted(path for path in found if ".ipynb_checkpoints" not in path.parts)


def prose(path: Path) -> str:
    """Markdown of a page; of a script its docstrings, of a notebook its cells of text."""
    text = path.read_text("utf-8")
    if path.suffix == ".py":
        nodes = [node for node in ast.walk(ast.parse(text))
                 if isinstance(node, (ast.Module, ast.FunctionDef, ast.ClassDef))]
        return "\n\n".join(ast.get_docstring(node) or "" for node in nodes)
    if path.suffix == ".ipynb":
        return "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"]
                           if cell["cell_type"] == "markdown")
    return text


def paragraphs(text: str) -> Iterator[str]:
    """Running text without code, tables, headings, formulas and HTML, links as their words."""
    text = re.sub(r"^( *)(```|~~~).*?^\1\2 *$", "", text, flags=re.M | re.S)
    text = re.sub(r"\$\$.*?\$\$|<!--.*?-->|<[^>\n]+>", "", text, flags=re.S)
    text = re.sub(r"``.+?``|`[^`\n]+`", "Code", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        begins = re.match(r"\s*([-*+]|\d+[.)])\s+", line)
        ends = not line.strip() or re.match(r"\s*(\||#|>?\s*$|---)", line) or (
            line.startswith("    ") and not block)
        if (begins or ends) and block:
            yield " ".join(block)
            block = []
        if not ends or begins:
            block.append(line[begins.end():] if begins else line.strip())


def sentences(text: str) -> list[str]:
    """Sentences of the running text."""
    return [one.strip() for part in paragraphs(text) for one in END.split(part) if one.strip()]


def words(sentence: str) -> int:
    return sum(any(map(str.isalpha, one)) for one in sentence.split())


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", pages(), ids=name)
def test_no_sentence_is_too_long(path: Path) -> None:
    most = LONGEST_IN_RESEARCH if "research" in path.parts else LONGEST
    assert [one for one in sentences(prose(path)) if words(one) > most] == []


@pytest.mark.parametrize("path", pages(), ids=name)
def test_no_private_words(path: Path) -> None:
    text = " ".join(paragraphs(prose(path)))
    found = [f"{match[0]!r}: {instead}" for pattern, instead in PRIVATE.items()
             for match in re.finditer(rf"\b(?:{pattern})\b", text, re.I)]
    assert found == []


@pytest.mark.parametrize("path", pages(), ids=name)
def test_no_sentence_is_a_riddle(path: Path) -> None:
    if not {"research", "reference"} & {*path.parts}:  # reference: docstrings that say what it is
        assert [one for one in sentences(prose(path)) if RIDDLE.match(one)] == []


def test_the_checks_find_what_they_are_for() -> None:
    long = "Word " + "word " * 60 + "end."
    assert [words(one) for one in sentences(f"Short one. {long}\n\n- item\n- {long}")] == [
        2, 62, 1, 62]
    assert sentences("```\ncode. More\n```\n| a | b |\n# Head\nOne `x. y`. Two\nmore.") == [
        "One Code.", "Two more."]
    assert RIDDLE.match("What dropped tokens get decides most about quality.")
    assert not RIDDLE.match("What is a scale?")
    assert re.search(rf"\b(?:{next(iter(PRIVATE))})\b", "nothing is asked for", re.I)

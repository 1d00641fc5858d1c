"""Every message that docs/guide/troubleshooting.md quotes is one that the code can print."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "guide" / "troubleshooting.md"
SOURCES = ("toprovar", "nodes")
HOLE = "\0"
"""In a source's string, where a value is put in."""
VARIABLE = re.compile(r"\*[^*]+\*")
"""In a quoted message, what differs from case to case."""
LEAST_LETTERS = 9
"""Of fixed words that are looked for at once: fewer are found everywhere."""
SIGNS = " .,:;"
"""That join one string to another."""
FEWEST = 25
"""Messages that are worth a page."""


def quoted(page: str) -> list[str]:
    """The messages of a page: its block quotes, each in one line."""
    blocks = re.findall(r"^> .*(?:\n> .*)*", page, re.MULTILINE)
    return [" ".join(line.removeprefix("> ").strip() for line in block.splitlines())
            for block in blocks]


def fixed_words(message: str) -> list[str]:
    """What stands between the variable parts, without signs at either end: a file's name is put
    before many messages, with a colon."""
    return VARIABLE.split(re.sub(r"^(?:\*[^*]+\*|\W)*|(?:\*[^*]+\*|\W)*$", "", message))


def strings_of(tree: ast.AST) -> Iterator[str]:
    """The strings of a program but its descriptions, those written in several pieces in one."""
    described = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        text = None if id(node) in described else _text(node)
        if text is not None:
            yield text


def _text(node: ast.AST) -> str | None:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else HOLE
                       for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _text(node.left), _text(node.right)
        return None if left is right is None else (left or HOLE) + (right or HOLE)
    return None


def is_printed(message: str, strings: str) -> bool:
    """Whether the fixed words of a message stand in strings of the sources, in one or, from some
    variable part on, in another one."""
    parts = fixed_words(message)
    reached = {0}  # how many parts can be told from the first on
    for start in range(len(parts)):
        if start not in reached:
            continue
        for end in range(start + 1, len(parts) + 1):
            words = parts[start:end]
            words[0] = words[0].lstrip(SIGNS)
            words[-1] = words[-1].rstrip(SIGNS)
            if len(re.sub("[^A-Za-z]", "", "".join(words))) < LEAST_LETTERS:
                continue
            if re.search("[^\1]*?".join(map(_pattern, words)), strings):
                reached.add(end)
    return len(parts) in reached


def _pattern(words: str) -> str:
    """Of words as a source has them; a value between two of them may be empty."""
    return re.escape(words).replace(r"\ ", rf"{HOLE}?\ ")


@lru_cache(maxsize=1)
def source_strings() -> str:
    """All strings of the sources, told apart by a character that none of them holds."""
    found = [text for folder in SOURCES for path in sorted((ROOT / folder).rglob("*.py"))
             for text in strings_of(ast.parse(path.read_text("utf-8")))]
    return "\1".join(dict.fromkeys(found))


MESSAGES = quoted(PAGE.read_text("utf-8"))


@pytest.mark.parametrize("message", MESSAGES)
def test_a_quoted_message_is_in_the_code(message: str) -> None:
    assert is_printed(message, source_strings()), fixed_words(message)


def test_the_page_is_of_use() -> None:
    assert len(MESSAGES) >= FEWEST
    assert len(set(MESSAGES)) == len(MESSAGES)


def test_every_message_is_followed_by_what_it_means_and_what_to_do() -> None:
    blocks = re.split(r"\n\n+", PAGE.read_text("utf-8").replace("\n## ", "\n\n## "))
    for block, after in pairwise(blocks):
        if block.startswith("> "):
            assert after.startswith(("> ", "- **Meaning.**")), block
    assert all("**What to do.**" in block or "note" in block
               for block in blocks if block.startswith("- **Meaning.**"))


@pytest.mark.parametrize(("message", "found"), [
    ("*x*: the file*y* cannot be drawn by this program", True),
    ("the file*y* cannot be painted by this program", False),  # other words
    ("the file y cannot be drawn by this program", False),  # a word where the code puts a value
    ("cannot be drawn by this program *y* the file", False),  # another order
    ("the file*y* cannot be drawn by *z*. What is finished is kept: make room for it", True),
    ("the file cannot be drawn by this program", True),  # a value that is empty
    ("It can be drawn by nobody.", False),  # a description
    ("*x* is *y*", False),  # too little to be told from others
])
def test_a_message_is_compared_by_its_fixed_words(message: str, found: bool) -> None:
    program = ('"""It can be drawn by nobody."""\n'
               'raise ValueError(f"the file{name} "\n  "cannot be drawn by " f"this program")\n'
               'print(". What is finished is kept: " + "make room for it")\n')
    assert is_printed(message, "\1".join(strings_of(ast.parse(program)))) is found

"""The reference is what the code says, and the commands of all pages are understood."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs_tools.markdown import anchor, plain, table
from docs_tools.names import public_names
from docs_tools.pages import ELSEWHERE, PAGES, REFERENCE, made, path_of
from docs_tools.source import (
    Found,
    Function,
    fields,
    find,
    public_methods,
    signature,
    taken_apart,
)
from toprovar.cli import command, commands

ROOT = Path(__file__).resolve().parents[2]
PROSE = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_pages_are_current() -> None:
    """The real generator, in a process of its own as it replaces ComfyUI's modules; a narrow
    terminal must not show."""
    done = subprocess.run([sys.executable, "-m", "docs_tools", "--check"], cwd=ROOT, text=True,
                          capture_output=True, env={**os.environ, "COLUMNS": "40"})
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_page_is_generated_in_part() -> None:
    assert {path.name for path in REFERENCE.glob("*.md")} == PAGES.keys() - ELSEWHERE.keys()
    assert all(path_of(name).is_file() for name in ELSEWHERE)


def test_a_changed_part_is_written_anew_and_prose_stays() -> None:
    name = "plan-file.md"
    text = (REFERENCE / name).read_text("utf-8")
    spoilt = re.sub(r"\| `strategy` \|.*\n", "", text).replace("# Plan file", "# Plans, as files")
    assert spoilt != text
    assert made(name, spoilt) == text.replace("# Plan file", "# Plans, as files")


@pytest.mark.parametrize("change", [
    ("<!-- generated: scale -->", "<!-- generated: sclae -->"),
    ("<!-- generated: scale -->", ""),
])
def test_a_part_that_is_missing_or_unknown_is_refused(change: tuple[str, str]) -> None:
    text = (REFERENCE / "plan-file.md").read_text("utf-8").replace(*change)
    with pytest.raises(ValueError, match=r"plan-file.md has the generated parts"):
        made("plan-file.md", text)


def test_links_inside_a_page_lead_to_its_headings() -> None:
    for path in REFERENCE.glob("*.md"):
        text = path.read_text("utf-8")
        headings = {anchor(match[1]) for match in re.finditer(r"^#+ (.*)$", text, re.MULTILINE)}
        links = set(re.findall(r"\]\(#([^)]+)\)", text))
        assert links, path
        assert links <= headings, (path, links - headings)


def test_docstrings_are_taken_apart() -> None:
    found = taken_apart("""What it does,
        and more.

        Args:
            one, two: both of these
                on two lines: yes.
            three: alone.

        Raises:
            ValueError: badly.
        """)
    assert found.paragraphs == ("What it does,\nand more.",)
    assert found.entries == {"Args": ((("one", "two"), "both of these on two lines: yes."),
                                      (("three",), "alone."))}
    assert found.texts == {"Raises": "ValueError: badly."}


def test_signatures_are_as_written() -> None:
    assert find("toprovar.sampling.run", "get_schedule") is None  # it has no such name
    found = find("toprovar.schedules", "get_schedule")
    assert found is not None
    assert signature("get_schedule", found) == \
        "get_schedule(template: str | float, pn: str) -> ScaleSchedule"


def names_in(found: Found, section: str) -> set[str]:
    return {name for names, _ in found.docstring.entries.get(section, ()) for name in names}


def parameters(found: Found) -> set[str]:
    assert isinstance(found.node, Function)
    own = found.node.args
    every = [*own.posonlyargs, *own.args, *own.kwonlyargs, own.vararg, own.kwarg]
    return {one.arg for one in every if one is not None} - {"self", "cls"}


def test_docstrings_name_all_arguments_or_none() -> None:
    for path, found in public_names():
        if isinstance(found.node, Function):
            callables = [(path, found)]
        else:
            callables = [(f"{path}.{one.node.name}", one) for one in public_methods(found)]
            told = names_in(found, "Args") | names_in(found, "Attributes")
            made = [node for node in found.node.body
                    if isinstance(node, Function) and node.name == "__init__"]
            assert told == (parameters(Found(found.module, made[0])) if made
                            else {name for name, *_ in fields(found)}), path
        for name, one in callables:
            told = names_in(one, "Args")
            assert not told or told == parameters(one), name


def test_markup_in_texts_is_shown_as_it_stands() -> None:
    assert plain("a [b] <c>\n *d*") == r"a \[b\] \<c> \*d\*"
    assert table(("a",), [("x | y",), (r"x \| y",)]) == "| a |\n|---|\n| x \\| y |\n| x \\| y |"


def shell_lines(text: str) -> Iterator[str]:
    """Lines of the blocks of commands in a page, with their continuations."""
    for block in re.findall(r"^```(?:console|bash|sh)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            yield line.strip().removeprefix("$ ")


COMMANDS = [(path.relative_to(ROOT).as_posix(), line) for path in PROSE
            for line in shell_lines(path.read_text("utf-8"))
            if re.match(r"(python3? -m )?toprovar [a-z]", line)]


def test_pages_have_commands() -> None:
    assert len(COMMANDS) > 30 and len({page for page, _ in COMMANDS}) > 5


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_commands_of_the_pages_are_understood(page: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    for sign in ("|", ">", "&&"):
        words = words[: words.index(sign)] if sign in words else words
    name, *rest = words[words.index("toprovar") + 1 :]
    assert name in commands(), f"{page} names no command: {line}"
    parser = argparse.ArgumentParser(prog=f"{page}: toprovar {name}")
    command(name).add_arguments(parser)
    parser.parse_args(rest)  # exits where it does not understand

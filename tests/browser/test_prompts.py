"""What Infinity Text Encode shows of a prompt, in both renderers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.editor import Editor
from tests.browser.test_editor import only, template

SHOWN = """(text) => [...document.querySelectorAll("span, p, div")].some((one) => {
  const box = one.getBoundingClientRect();
  return box.width > 0 && box.height > 0 && one.innerText?.includes(text);
})"""


@pytest.fixture(autouse=True)
def no_complaints(editor: Editor) -> Iterator[None]:
    yield
    assert editor.complaints() == []


def values(editor: Editor, node: int) -> list[Any]:
    (found,) = [n["widgets_values"] for n in editor.saved()["nodes"] if n["id"] == node]
    return found


def test_notes_on_a_prompt_stand_on_its_node(editor: Editor) -> None:
    workflow = template("quick-start")
    editor.load(workflow)
    node = only(workflow, "TextEncode")
    animal = "okapi" if editor.is_vue else "zebra"  # a node that is not run anew says nothing
    editor.set(node, text=f"embedding:bad, a ({animal}:1.2) <b>")
    editor.run()
    editor.fit()
    editor.picture("prompt-notes")
    read, unknown = ('prompt was read without "embedding:bad": Infinity has no textual-inversion '
                     "embeddings"), f"cannot tell apart: {animal}, "
    report = editor.browser.evaluate("(panel) => document.querySelector(panel).innerText",
                                     editor.panel(only(workflow, "Sampler")))
    assert f"the {read}" in report and f"{unknown}<, b, >" in report
    assert editor.browser.evaluate(SHOWN, f"The {read}.")
    notes = editor.browser.evaluate(
        "(panel) => [...document.querySelectorAll(`${panel} p`)].map((one) => one.textContent)",
        editor.panel(node))
    assert notes == [f"The {read}.", "The prompt has words that the text encoder does not know and "
                     f"{unknown}<, b, >."]
    high = editor.height(node)
    saved = editor.saved()  # what is shown is not saved among the inputs
    assert values(editor, node) == [f"embedding:bad, a ({animal}:1.2) <b>", False, True]
    editor.load(saved)
    editor.browser.wait(SHOWN, f"The {read}.")
    editor.set(node, text=f"a cat{' ' * editor.is_vue}")
    editor.run()
    assert not editor.browser.evaluate(SHOWN, f"The {read}.")
    assert editor.height(node) <= high


def test_graphs_of_before_there_were_weights_open(editor: Editor) -> None:
    workflow = template("quick-start")
    node = only(workflow, "TextEncode")
    for one in workflow["nodes"]:
        if one["id"] == node:
            one["widgets_values"] = ["a blue car", False]
    editor.load(workflow)
    assert values(editor, node) == ["a blue car", False, True]

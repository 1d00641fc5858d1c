"""What Infinity Text Encode shows of a prompt, in both renderers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.editor import Editor
from tests.browser.test_editor import only, template

NOTES = "$$node-text-preview"
"""The frontend's name of the widget with the text that a node was given."""
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
    assert editor.widget(node, NOTES) == f"The {read}.\nThe prompt has words that the text " \
        f"encoder does not know and {unknown}\u2039, b, \u203a."
    if not editor.is_vue:  # whose nodes do not get the frontend's own text widget, as of 1.32
        assert editor.browser.evaluate(SHOWN, f"The {read}.")
    # Frontends save the shown text behind the inputs, where it is nobody's when it is opened again.
    saved = editor.saved()
    assert values(editor, node)[:3] == [f"embedding:bad, a ({animal}:1.2) <b>", False, True]
    editor.load(saved)
    assert values(editor, node) == [f"embedding:bad, a ({animal}:1.2) <b>", False, True]
    editor.set(node, text=f"a cat{' ' * editor.is_vue}")
    editor.run()
    assert editor.widget(node, NOTES) == "Every word of the prompt is used."


def test_graphs_of_before_there_were_weights_open(editor: Editor) -> None:
    workflow = template("quick-start")
    node = only(workflow, "TextEncode")
    for one in workflow["nodes"]:
        if one["id"] == node:
            one["widgets_values"] = ["a blue car", False]
    editor.load(workflow)
    assert values(editor, node) == ["a blue car", False, True]

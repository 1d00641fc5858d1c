"""A node's help in the editor: the Chinese page in a Chinese ComfyUI, the English one in others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.editor import READY, Editor
from tests.comfyui.templates import template
from tests.comfyui.test_help_pages import page

NODE = "ToProVAR_Sampler"
LANGUAGE = "Comfy.Locale"
INFO = '[data-testid="info-button"]'
SELECT = """(type) => {
  const node = app.graph.nodes.find((one) => one.type === type);
  app.canvas.deselectAll();
  (app.canvas.selectNode ?? app.canvas.select).call(app.canvas, node);
}"""
SHOWN = "(text) => document.body.innerText.includes(text)"


@pytest.fixture
def restored(editor: Editor) -> Iterator[Editor]:
    yield editor
    speak(editor, "en")


def speak(editor: Editor, language: str) -> None:
    editor.configure({LANGUAGE: language})
    editor.browser.do("open", url=editor.url)
    editor.browser.wait(READY)


@pytest.mark.parametrize(("language", "shown"), [("zh", "zh"), ("en", "en"), ("ja", "en")])
def test_help_is_in_the_editors_language(restored: Editor, language: str, shown: str) -> None:
    editor = restored
    speak(editor, language)
    editor.load(template("quick-start"))
    editor.browser.evaluate(SELECT, NODE)
    editor.browser.wait("(name) => document.querySelector(name)", INFO)
    editor.browser.evaluate("(name) => document.querySelector(name).click()", INFO)
    beginning = page(shown, NODE).splitlines()[2].split(". ")[0].split("。")[0]
    editor.browser.wait(SHOWN, beginning)
    editor.picture(f"help-{language}")

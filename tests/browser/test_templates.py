"""Templates as ComfyUI's browser of templates shows them, and what it says of missing weights."""

from __future__ import annotations

import pytest

from tests.browser.editor import MISSING, Editor
from tests.comfyui.server import PACK
from tests.comfyui.templates import TEMPLATES, template

DETAILS = "button:has-text('View details')"
"""Newer frontends list missing weights in a panel, older ones in a dialog."""


def test_they_come_in_the_order_of_their_numbers(editor: Editor) -> None:
    """Whatever order the disk has them in."""
    listed = editor.browser.evaluate("async () => await app.api.getWorkflowTemplates()")
    assert listed[PACK] == [path.stem for path in TEMPLATES]


def test_the_browser_of_templates_shows_each_with_its_picture(editor: Editor) -> None:
    editor.browser.evaluate(
        "() => { app.extensionManager.command.execute('Comfy.BrowseTemplates'); }")
    for path in TEMPLATES:  # a card has its picture in the page only while it is in view
        editor.browser.wait(
            """(name) => {
              const heading = [...document.querySelectorAll("*")].find((one) =>
                !one.children.length && one.textContent.trim() === name);
              heading?.scrollIntoView({ block: "center" });
              for (let card = heading; card; card = card.parentElement) {
                const shown = [...card.querySelectorAll("img")];
                if (shown.length) return shown.length === 1 && shown[0].naturalWidth === 512
                  && shown[0].naturalHeight === 512;
              }
            }""", path.stem)
    editor.picture("templates")
    editor.start(vue=editor.is_vue)


@pytest.mark.parametrize("name", ["infinity-2b-at-1024-px", "infinity-8b-at-512-px"])
def test_missing_weights_are_listed_with_their_folders(editor: Editor, name: str) -> None:
    workflow = template(name)
    (models,) = [n["properties"]["models"] for n in workflow["nodes"]
                 if n["type"] == "ToProVAR_LoadInfinity"]
    editor.configure({MISSING: True})
    editor.load(workflow)
    editor.browser.wait(
        """() => document.querySelector(".p-dialog, [role=dialog]")
          || [...document.querySelectorAll("button")].some((b) => /View details/.test(b.innerText))
        """)
    if editor.browser.evaluate(
            "() => [...document.querySelectorAll('button')]"
            ".some((b) => /View details/.test(b.innerText))"):
        editor.browser.click(DETAILS)
    for model in models:
        for words in (model["name"], model["directory"]):
            editor.browser.wait(
                """(words) => [...document.querySelectorAll("div, span, p")].some((one) =>
                  !one.closest("[data-node-id], .comfy-markdown, .dom-widget")
                  && one.innerText?.trim().includes(words) && one.innerText.length < 200)""", words)
    editor.picture(f"missing-{name}")
    editor.start(vue=editor.is_vue)

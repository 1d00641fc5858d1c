"""Drafts as a contact sheet in the editor: clicked, finished, saved with the workflow."""

from __future__ import annotations

from typing import Any

from tests.browser.editor import Editor
from tests.browser.test_editor import no_complaints, only
from tests.comfyui.templates import template

__all__ = ["no_complaints"]

PRESSED = """(panel) => [...document.querySelectorAll(`${panel} .tpv-draft[aria-pressed=true]`)]
  .map((one) => Number(one.dataset.number))"""


def with_drafts(editor: Editor) -> tuple[dict[str, Any], int, int]:
    """The template after a run that finishes nothing; its Draft and Finish nodes."""
    workflow = template("draft-and-finish")
    editor.load(workflow)
    draft, finish = only(workflow, "Draft"), only(workflow, "FinishDrafts")
    editor.set(draft, seed=301 + editor.is_vue, images=4, until=4, pixels="0.06M")
    editor.set(finish, which="")
    editor.run()
    editor.fit()
    return workflow, draft, finish


def test_drafts_are_chosen_by_clicks_and_finished(editor: Editor) -> None:
    _, draft, finish = with_drafts(editor)
    sheet, beside = editor.panel(finish), editor.panel(draft)
    for panel in (sheet, beside):
        editor.browser.wait(
            """(panel) => [...document.querySelectorAll(`${panel} .tpv-draft img`)]
              .filter((one) => one.naturalWidth === 256).length === 4""", panel)
    editor.browser.click(f"{sheet} .tpv-draft[data-number='4']")
    editor.browser.click(f"{beside} .tpv-draft[data-number='2']")
    assert editor.widget(finish, "which") == "2,4"
    editor.browser.click(f"{sheet} .tpv-draft[data-number='3']")
    assert editor.widget(finish, "which") == "2-4"
    editor.browser.click(f"{sheet} .tpv-draft[data-number='3']")
    assert editor.browser.evaluate(PRESSED, sheet) == [2, 4]
    sent = editor.run()
    assert str(draft) in editor.cached()  # not drawn again
    done = editor.output(sent, finish)
    assert done["toprovar_drafts"][0]["which"] == [2, 4]
    assert len(next(one["output"]["images"] for one in sent if one["output"].get("images"))) == 2
    editor.fit()
    editor.picture("drafts-finished")
    text = editor.browser.evaluate("(panel) => document.querySelector(panel).innerText", sheet)
    assert "2 of 4 chosen" in text and "of a dense run's FLOPs" in text
    editor.browser.click(f"{sheet} [data-which='all']")
    assert editor.widget(finish, "which") == "all"
    editor.set(finish, which="1, 3")  # by the keyboard
    assert editor.browser.evaluate(PRESSED, sheet) == [1, 3]


def test_a_choice_is_saved_and_a_step_of_undo(editor: Editor) -> None:
    _, _, finish = with_drafts(editor)
    editor.browser.click(f"{editor.panel(finish)} .tpv-draft[data-number='1']")
    editor.settle()
    editor.browser.click(f"{editor.panel(finish)} .tpv-draft[data-number='3']")
    saved = {n["id"]: n for n in editor.saved()["nodes"]}[finish]
    assert saved["widgets_values"][0] == "1,3"
    editor.browser.evaluate(
        "() => app.extensionManager.workflow.activeWorkflow.changeTracker.undo()")
    assert editor.widget(finish, "which") == "1"


def test_without_finish_drafts_the_sheet_says_what_to_connect(editor: Editor) -> None:
    _, draft, finish = with_drafts(editor)
    editor.browser.evaluate("(id) => app.graph.remove(app.graph.getNodeById(id))", finish)
    editor.settle()
    panel = editor.panel(draft)
    editor.browser.click(f"{panel} .tpv-draft[data-number='1']")
    text = editor.browser.evaluate("(panel) => document.querySelector(panel).innerText", panel)
    assert "Connect to Finish Drafts to choose" in text

"""What the editor finds again: results after a reload, workflows in pictures, nodes by a word."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser.editor import Editor
from tests.browser.test_editor import no_complaints, only, template
from tests.comfyui.server import ROOT, environment

__all__ = ["no_complaints"]

SHARE = "(panel) => document.querySelector(`${panel} .tpv-big`)?.innerText ?? ''"


def test_results_are_there_after_a_reload(editor: Editor) -> None:
    workflow = template("quick-start")
    editor.load(workflow)
    sampler = only(workflow, "Sampler")
    editor.set(sampler, seed=301 + editor.is_vue)
    editor.run()
    shown = editor.browser.evaluate(SHARE, editor.panel(sampler))
    assert shown.endswith("%")
    editor.reload()
    panel = editor.panel(sampler)
    editor.browser.wait(f"(panel) => ({SHARE})(panel) !== ''", panel)
    assert editor.browser.evaluate(SHARE, panel) == shown


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of the command line."""
    out = tmp_path_factory.mktemp("drawn") / "drawn.png"
    subprocess.run([sys.executable, "-m", "toprovar", "generate", "a blue car", "--seed", "9",
                    "--pixels", "0.06M", "--plan", "fastvar", "--budget", "0.5", "--quiet",
                    "--out", str(out)], cwd=ROOT, env=environment(), check=True)
    return out


def test_a_picture_of_the_command_line_opens_and_runs(editor: Editor, drawn: Path) -> None:
    editor.drop(drawn)
    editor.browser.wait("() => app.graph.nodes.length === 5")
    ids = dict(editor.browser.evaluate("() => app.graph.nodes.map((n) => [n.type, n.id])"))
    sampler, planner = ids["ToProVAR_Sampler"], ids["ToProVAR_SparsityPlanner"]
    values = editor.values(planner)
    assert (values["strategy"], values["target"], values["budget"]) == (
        "fastvar", "compute budget", 0.5)
    assert editor.widget(sampler, "seed") == 9 and editor.widget(sampler, "pixels") == "0.06M"
    assert editor.widget(ids["ToProVAR_TextEncode"], "text") == "a blue car"
    report = editor.output(editor.run(), int(sampler))["toprovar_report"][0]
    assert report["runs"][0]["plan"] == "fastvar" and report["runs"][0]["flop_share"] <= 0.5


def test_fast_finds_the_sampler_first(editor: Editor) -> None:
    editor.load(template("quick-start"))
    editor.browser.evaluate(
        "async () => { await app.extensionManager.command.execute('Workspace.SearchBox.Toggle'); }")
    editor.browser.wait("() => document.activeElement?.tagName === 'INPUT'")
    for key in "fast":
        editor.browser.do("press", key=key)
    first = """() => [...document.querySelectorAll('[role=option]')].map((one) =>
      one.innerText.trim()).find((text) => text) ?? ''"""
    editor.browser.wait(f"() => /sampler/i.test(({first})())")
    assert "Accelerated Sampler" in editor.browser.evaluate(first)
    editor.browser.do("press", key="Escape")

"""Drafts through the queue: drawn, chosen, finished, kept."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.comfyui.client import Client, RefusedError
from tests.comfyui.edits import DENSE, drafted, drawn, finish, saved
from tests.comfyui.models import add_tiny
from tests.comfyui.server import Server
from tests.comfyui.test_runs import pictures
from tests.comfyui.workflows import EMBEDDED, node, own, planner, quick_start

INSIDE = {"strategy": "toprovar", "toprovar_start_scale": 5, "toprovar_dropped": "cached"}
BEFORE = {"strategy": "toprovar", "toprovar_planned": "before the run", "toprovar_start_scale": 4,
          "toprovar_dropped": "identity"}


def finished(client: Client, prompt: dict[str, Any], **changes: Any) -> np.ndarray:
    prompt |= {"finish": finish(**changes), "out": saved(["finish", 0])}
    return pictures(client, client.run(prompt), "out")


@pytest.mark.parametrize("plan", [None, DENSE, BEFORE])
@pytest.mark.parametrize("preview", ["off", "decoded"])
def test_finished_drafts_are_the_pictures_drawn_at_once(client: Client, plan: Any, preview: str
                                                        ) -> None:
    prompt = drafted(plan=plan or DENSE, preview=preview)
    whole = quick_start(preview="off", images=3)
    if plan is None:
        del prompt["plan"], prompt["draft"]["inputs"]["plan"]
    else:
        whole["sample"]["inputs"]["plan"], whole["plan"] = ["plan", 0], planner(**plan)
    expected = pictures(client, client.run(whole))
    np.testing.assert_array_equal(finished(client, prompt, preview=preview), expected)
    some = finished(client, prompt, which="3, 1", preview=preview)
    np.testing.assert_array_equal(some, expected[[2, 0]])


def test_a_plan_made_inside_the_run_is_connected_again(client: Client) -> None:
    prompt = drafted(plan=INSIDE, images=1)
    whole = {**quick_start(preview="off", plan=["plan", 0]), "plan": planner(**INSIDE)}
    prompt |= {"finish": finish(), "out": saved(["finish", 0])}
    done = client.wait(client.queue(prompt))
    assert done.status == "error" and "connect the same plan" in done.error["exception_message"]
    found = finished(client, prompt, plan=["plan", 0])
    np.testing.assert_array_equal(found, pictures(client, client.run(whole)))


def test_prompts_negatives_and_weights_come_along(client: Client) -> None:
    text = "a (red:0.2) apple\ntwo blue cars"
    whole = quick_start(text, preview="off", images=2, negative=["no", 0], plan=["plan", 0],
                        cfg=2.5)
    prompt = drafted(text, images=2, negative=["no", 0], cfg=2.5)
    for one in (whole, prompt):
        one["text"]["inputs"]["prompt_per_line"] = True
        one["plan"] = planner(**DENSE)
        one["no"] = own("TextEncode", text_encoder=["load", 1], text="a cat",
                        prompt_per_line=False)
    expected = pictures(client, client.run(whole))
    np.testing.assert_array_equal(finished(client, prompt), expected)
    prompt["no"]["inputs"]["prompt_weights"] = False
    done = client.wait(client.queue(prompt))
    assert done.status == "error" and "encoded in different ways" in done.error["exception_message"]


@pytest.mark.parametrize("until", [8, 0])
def test_a_draft_draws_its_scales_and_shows_them(client: Client, until: int) -> None:
    prompt = drafted(preview="decoded", seed=51, until=until)
    prompt["out"] = saved(["draft", 1], "seen")
    done = client.run(prompt)
    assert done.progress("draft") == [(n + 1, 5) for n in range(5)] and len(done.previews) == 5
    sheet = done.outputs["draft"]["toprovar_drafts"][0]
    assert len(sheet["images"]) == len(sheet["captions"]) == 3
    assert sheet["captions"][2] == "3: seed 53" and "5 of 7 scales" in sheet["about"]
    for file in sheet["images"]:
        assert client.picture(file)[8:12] == b"WEBP"
    assert pictures(client, done, "out").shape == (3, 256, 256, 3)


def test_only_what_is_chosen_is_finished(client: Client) -> None:
    """And the drafts are not drawn again for another choice."""
    prompt = drafted(seed=61)
    prompt |= {"finish": finish(which=""), "out": saved(["finish", 0])}
    first = client.run(prompt)
    assert "out" not in first.outputs
    assert "Click those to finish" in first.outputs["finish"]["toprovar_drafts"][0]["about"]
    prompt["finish"]["inputs"]["which"] = "2-3"
    second = client.run(prompt)
    assert second.executed == ["finish", "out"]
    assert second.outputs["finish"]["toprovar_drafts"][0]["which"] == [2, 3]
    assert len(second.outputs["finish"]["toprovar_report"][0]["runs"]) == 1
    np.testing.assert_array_equal(pictures(client, second, "out"),
                                  pictures(client, client.run(drawn(seed=62, images=2))))


@pytest.mark.parametrize("which", ["1;2", "0", "2-1", "a", "1,1"])
def test_wrong_choices_are_named(client: Client, which: str) -> None:
    prompt = drafted()
    prompt |= {"finish": finish(which=which), "out": saved(["finish", 0])}
    with pytest.raises(RefusedError) as refusal:
        client.queue(prompt)
    assert "which must name drafts" in refusal.value.text("finish")


def test_a_number_that_is_not_there_is_named(client: Client) -> None:
    prompt = drafted()
    prompt |= {"finish": finish(which="1,4"), "out": saved(["finish", 0])}
    done = client.wait(client.queue(prompt))
    assert "from 1 to 3" in done.error["exception_message"] and "'4'" in done.error[
        "exception_message"]


@pytest.mark.parametrize(("form", "ending"), [("picture that holds them", "png"),
                                              ("bits alone", "safetensors")])
def test_drafts_are_saved_loaded_and_finished(client: Client, server: Server, form: str,
                                              ending: str) -> None:
    prompt = drafted(seed=71)
    prompt["keep"] = own("SaveDraft", drafts=["draft", 0], filename_prefix=f"drafts/{ending}",
                         file=form)
    name = f"drafts/{ending}_00001_.{ending}"
    assert client.run(prompt).outputs["keep"]["text"] == [f"saved {name}"]
    file = server.base / "output" / name
    if ending == "png":
        with Image.open(file) as sheet:
            assert min(sheet.size) > 2 * 256  # two by two, with captions
    (server.base / "input" / "drafts").mkdir(exist_ok=True)
    shutil.move(file, server.base / "input" / "drafts" / file.name)
    del prompt["keep"], prompt["draft"]
    prompt["file"] = own("LoadDraft", model=["load", 0], file=f"drafts/{file.name} [input]")
    found = finished(client, prompt, drafts=["file", 0], which="2")
    np.testing.assert_array_equal(found, pictures(client, client.run(drawn(seed=72))))


def test_drafts_go_on_to_a_larger_size(client: Client) -> None:
    found = finished(client, drafted(until=64, images=1), pixels="0.25M")
    assert found.shape == (1, 512, 512, 3)
    prompt = drafted(plan={**DENSE, "pixels": "0.25M"}, until=64, images=1, pixels="0.25M")
    prompt |= {"finish": finish(pixels="0.06M"), "out": saved(["finish", 0])}
    done = client.wait(client.queue(prompt))
    assert "size of the same aspect that is not smaller" in done.error["exception_message"]
    prompt["draft"]["inputs"]["until"] = 4
    done = client.wait(client.queue(prompt))
    assert "which is smaller: leave the size out" in done.error["exception_message"]


def test_foreign_drafts_and_files_are_refused(client: Client, server: Server) -> None:
    folder = server.base / "models" / "infinity"
    folder.mkdir(parents=True, exist_ok=True)
    tiny = folder / "tiny"
    other = {**EMBEDDED, **(add_tiny(folder) if not tiny.exists() else {"model": "tiny"})}
    prompt = drafted()
    prompt |= {"other": own("LoadInfinity", **other), "out": saved(["finish", 0]),
               "finish": finish(model=["other", 0])}
    done = client.wait(client.queue(prompt))
    assert done.error["node_id"] == "finish"
    assert "drawn by another model" in done.error["exception_message"]
    shutil.rmtree(tiny)
    drafts = server.base / "input" / "drafts"
    drafts.mkdir(exist_ok=True)
    Image.new("RGB", (8, 8)).save(drafts / "plain.png")
    load = {"load": prompt["load"], "show": node("PreviewAny", source=["file", 0]),
            "file": own("LoadDraft", model=["load", 0], file="drafts/plain.png [input]")}
    done = client.wait(client.queue(load))
    assert "plain.png" in done.error["exception_message"]
    load["file"]["inputs"]["file"] = "drafts/gone.png [input]"
    with pytest.raises(RefusedError) as refusal:
        client.queue(load)
    assert "there is no draft 'drafts/gone.png [input]'" in refusal.value.text("file")
    prompt["finish"] = finish(drafts=["load", 0])
    with pytest.raises(RefusedError) as refusal:
        client.queue(prompt)
    assert "INFINITY_DRAFT" in refusal.value.text("finish")

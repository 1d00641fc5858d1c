"""Bad inputs: refused before anything runs where that can be known, in words that help."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.comfyui.client import Client, RefusedError
from tests.comfyui.server import Server
from tests.comfyui.workflows import (
    EMBEDDED,
    model_and_text,
    node,
    own,
    planned,
    planner,
    quick_start,
)


def complaints(client: Client, prompt: dict[str, Any], at: str) -> list[str]:
    """What is said of a node, before or while it runs: servers check choices at different times."""
    try:
        done = client.wait(client.queue(prompt))
    except RefusedError as refusal:
        found = refusal.answer["node_errors"][at]["errors"]
        return [f"{error['message']} {error['details']}" for error in found]
    assert done.status == "error" and done.error["node_id"] == at
    return [done.error["exception_message"]]


@pytest.mark.parametrize(("prompt", "at", "said"), [
    (quick_start(aspect="5:1"), "sample", "aspect.*5:1.*3:1"),
    (quick_start(pixels="2M"), "sample", "pixels.*auto.*0.06M"),
    (quick_start(cfg=-1.0), "sample", "Value -1.0 smaller than min of 0.0 cfg"),
    (quick_start(images=0), "sample", "Value 0 smaller than min of 1 images"),
    (quick_start(seed=1 << 64), "sample", "bigger than max of 18446744073709551615 seed"),
    (planned({"strategy": "slowvar"}), "plan", "strategy must be one of toprovar"),
    (planned({"edits": "{"}), "plan", "edits are not JSON"),
    (planned({"edits": '{"keep": {"6": {"1": 2}}}'}), "plan", "a share between 0 and 1, got 2"),
    (planned({"strategy": "toprovar", "toprovar_alpha_min": 0.9, "toprovar_alpha_max": 0.2}),
     "plan", "lower the one or raise the other"),
    (planned({"strategy": "fastvar", "fastvar_drop": "half"}), "plan", "such as 0.4, 0.5, 1, 1"),
    (planned({"strategy": "fastvar", "target": "speed-up", "speedup": 0.5}), "plan",
     "speedup must be 1 or more|smaller than min of 1.0 speedup"),
])
def test_bad_values_are_named_once(client: Client, prompt: dict[str, Any], at: str, said: str
                                   ) -> None:
    (found,) = complaints(client, prompt, at)
    assert re.search(said, found, re.DOTALL)


@pytest.mark.parametrize("name", ["vae", "text_encoder"])
def test_a_missing_part_is_named_once(client: Client, name: str) -> None:
    prompt = quick_start()
    prompt["load"]["inputs"][name] = "gone"
    (found,) = complaints(client, prompt, "load")
    assert "gone" in found and "the model's own" in found


def test_unknown_models_are_refused_with_one_message(client: Client) -> None:
    prompt = quick_start()
    prompt["load"]["inputs"]["model"] = "infinity_9b.pth"
    with pytest.raises(RefusedError) as refusal:
        client.queue(prompt)
    assert "there is no model 'infinity_9b.pth' in models/infinity" in refusal.value.text("load")
    assert len(refusal.value.answer["node_errors"]["load"]["errors"]) == 1


def test_files_outside_the_output_folder_are_refused(client: Client) -> None:
    prompt = {"load": model_and_text()["load"], "plan": planner(),
              "keep": own("SavePlan", plan=["plan", 0], filename_prefix="../plan")}
    with pytest.raises(RefusedError) as refusal:
        client.queue(prompt)
    assert "must stay inside ComfyUI's output folder" in refusal.value.text("keep")


def test_unknown_plans_are_refused(client: Client) -> None:
    prompt = quick_start(plan=["file", 0])
    prompt["file"] = own("LoadPlan", file="plans/gone.json [output]")
    with pytest.raises(RefusedError) as refusal:
        client.queue(prompt)
    assert "no plan" in refusal.value.text("file")


def fails(client: Client, prompt: dict[str, Any]) -> str:
    done = client.wait(client.queue(prompt))
    assert done.status == "error"
    return done.error["exception_message"]


def test_one_sided_sizes_are_named(client: Client) -> None:
    prompt = quick_start(size=["size", 0])
    prompt["size"] = own("Size", aspect="1:1", pixels="0.06M", width=512, height=0)
    assert "give both" in fails(client, prompt)


def test_a_plan_of_another_size_says_so(client: Client) -> None:
    prompt = planned({"strategy": "dense", "pixels": "0.25M"})
    assert "use the plan's size, or make a plan for this one" in fails(client, prompt)


def test_a_plan_made_in_the_run_cannot_be_edited_or_saved(client: Client) -> None:
    inside = {"strategy": "toprovar", "toprovar_dropped": "identity"}
    prompt = planned({**inside, "edits": '{"run": {"6": false}}'})
    assert "so there is nothing to edit yet" in fails(client, prompt)
    prompt = {"load": model_and_text()["load"], "plan": planner(**inside),
              "keep": own("SavePlan", plan=["plan", 0], filename_prefix="plans/none")}
    assert "save the sampler's used plan" in fails(client, prompt)


def test_edits_beyond_the_plan_are_named(client: Client) -> None:
    prompt = planned({"strategy": "dense", "edits": '{"keep": {"9": {"0": 0.5}}}'})
    assert "edits name scale 9, but the plan has 7 scales" in fails(client, prompt)


def test_official_files_need_their_companions(client: Client, server: Server) -> None:
    """A file appears in the list without a restart, and is asked for its VAE and text encoder;
    one that is no model says what it is."""
    folder = server.base / "models" / "infinity"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "infinity_2b_reg.pth"
    file.write_bytes(b"not a checkpoint")
    loader = client.json("/object_info/ToProVAR_LoadInfinity")["ToProVAR_LoadInfinity"]
    assert "infinity_2b_reg.pth" in loader["input"]["required"]["model"][1]["options"]
    prompt = {"load": own("LoadInfinity", **{**EMBEDDED, "model": file.name}),
              "show": node("PreviewAny", source=["load", 0])}
    assert "choose its vae and text_encoder too" in fails(client, prompt)
    prompt["load"]["inputs"]["vae"] = file.name
    encoder = folder / "t5"
    encoder.mkdir()
    (encoder / "config.json").write_text('{"model_type": "t5", "d_model": 2048}')
    prompt["load"]["inputs"]["text_encoder"] = "t5"
    assert "infinity_2b_reg.pth" in fails(client, prompt)
    file.unlink()

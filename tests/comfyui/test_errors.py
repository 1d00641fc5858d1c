"""Bad inputs: refused before anything runs where that can be known, in words that help."""

from __future__ import annotations

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


@pytest.mark.parametrize(("prompt", "at", "said"), [
    (quick_start(aspect="5:1"), "sample", "choose one of 1:1"),
    (quick_start(pixels="2M"), "sample", "pixels must be one of auto, 0.06M"),
    (quick_start(cfg=-1.0), "sample", "cfg must lie between 0 and 100, got -1.0"),
    (quick_start(images=0), "sample", "images must lie between 1 and 64"),
    (planned({"strategy": "slowvar"}), "plan", "strategy must be one of toprovar"),
    (planned({"edits": "{"}), "plan", "edits are not JSON"),
    (planned({"edits": '{"keep": {"6": {"1": 2}}}'}), "plan", "a share between 0 and 1, got 2"),
    (planned({"strategy": "toprovar", "toprovar_alpha_min": 0.9, "toprovar_alpha_max": 0.2}),
     "plan", "lower the one or raise the other"),
    (planned({"strategy": "fastvar", "fastvar_drop": "half"}), "plan", "such as 0.4, 0.5, 1, 1"),
    (planned({"strategy": "fastvar", "target": "speed-up", "speedup": 0.5}), "plan",
     "speedup must be 1 or more"),
])
def test_bad_values_are_refused(client: Client, prompt: dict[str, Any], at: str, said: str
                                ) -> None:
    with pytest.raises(RefusedError) as refusal:
        client.queue(prompt)
    assert said in refusal.value.text(at)


def test_unknown_models_are_refused(client: Client) -> None:
    prompt = quick_start()
    prompt["load"]["inputs"]["model"] = "infinity_9b.pth"
    with pytest.raises(RefusedError) as refusal:
        client.queue(prompt)
    assert "there is no model 'infinity_9b.pth' in models/infinity" in refusal.value.text("load")


def test_one_sided_sizes_are_refused(client: Client) -> None:
    prompt = quick_start(size=["size", 0])
    prompt["size"] = own("Size", aspect="1:1", pixels="0.06M", width=512, height=0)
    with pytest.raises(RefusedError) as refusal:
        client.queue(prompt)
    assert "give both" in refusal.value.text("size")


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
    with pytest.raises(RefusedError) as refusal:
        client.queue(prompt)
    assert "choose its vae and text_encoder too" in refusal.value.text("load")
    prompt["load"]["inputs"]["vae"] = file.name
    encoder = folder / "t5"
    encoder.mkdir()
    (encoder / "config.json").write_text('{"model_type": "t5", "d_model": 2048}')
    prompt["load"]["inputs"]["text_encoder"] = "t5"
    assert "infinity_2b_reg.pth" in fails(client, prompt)
    file.unlink()

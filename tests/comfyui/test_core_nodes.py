"""ComfyUI's own nodes around those of this pack: which connect, and what wrong ones say."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest

from tests.comfyui.client import Client, RefusedError
from tests.comfyui.server import Server
from tests.comfyui.test_runs import pictures
from tests.comfyui.workflows import model_and_text, node, own, planned, quick_start, sampler

Prompt = dict[str, Any]
VAE, LATENT, IMAGE = ["load", 2], ["sample", 1], ["sample", 0]


def drawn(**nodes: Prompt) -> Prompt:
    """A dense run, with other nodes behind it."""
    return {**planned({"strategy": "dense"}, preview="off"), **nodes}


def with_node(client: Client, kind: str, inputs: Prompt, **nodes: Prompt) -> Prompt:
    """A run with one further node, whose other inputs have their defaults. Skips where the server
    has no such node."""
    known = client.json(f"/object_info/{kind}").get(kind)
    if known is None:
        pytest.skip(f"this ComfyUI has no node {kind}")
    values = {}
    for name, (form, *about) in known["input"]["required"].items():
        options = about[0] if about else {}
        choices = form if isinstance(form, list) else options.get("options")
        values[name] = options.get("default", choices[0] if choices else "")
    prompt = drawn(x=node(kind, **{**values, **inputs}), **nodes)
    if not known["output_node"]:
        prompt["show"] = node("PreviewAny", source=["x", 0])
    return prompt


def error(client: Client, prompt: Prompt) -> str:
    done = client.wait(client.queue(prompt))
    assert done.status == "error" and done.error["node_id"] == "x"
    return done.error["exception_message"]


def off(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


def test_decode_and_encode_take_the_vae(client: Client) -> None:
    done = client.run(drawn(
        decode=node("VAEDecode", samples=LATENT, vae=VAE),
        tiled=node("VAEDecodeTiled", samples=LATENT, vae=VAE, tile_size=128, overlap=32,
                   temporal_size=64, temporal_overlap=8),
        encode=node("VAEEncode", pixels=IMAGE, vae=VAE),
        again=node("VAEDecode", samples=["encode", 0], vae=VAE),
        parts=node("VAEEncodeTiled", pixels=IMAGE, vae=VAE, tile_size=128, overlap=32,
                   temporal_size=64, temporal_overlap=8),
        same=node("VAEDecode", samples=["parts", 0], vae=VAE),
        **{f"save {name}": node("SaveImage", images=[name, 0], filename_prefix=name)
           for name in ("decode", "tiled", "again", "same")}))
    whole = pictures(client, done)
    np.testing.assert_array_equal(pictures(client, done, "save decode"), whole)
    assert 0 < off(pictures(client, done, "save tiled"), whole) < 10
    again = pictures(client, done, "save again")
    assert 0 < off(again, whole) < 8  # not quantised: what the VAE itself loses
    np.testing.assert_array_equal(pictures(client, done, "save same"), again)


def test_latents_can_be_kept_batched_and_picked(client: Client, server: Server) -> None:
    done = client.run(drawn(
        keep=node("SaveLatent", samples=LATENT, filename_prefix="kept"),
        both=node("LatentBatch", samples1=LATENT, samples2=LATENT),
        second=node("LatentFromBatch", samples=["both", 0], batch_index=1, length=1),
        decode=node("VAEDecode", samples=["second", 0], vae=VAE),
        out=node("SaveImage", images=["decode", 0], filename_prefix="second")))
    np.testing.assert_array_equal(pictures(client, done, "out"), pictures(client, done))
    name = done.outputs["keep"]["latents"][0]["filename"]
    shutil.copy(server.base / "output" / name, server.base / "input" / "kept.latent")
    found = client.run({
        **model_and_text(), "file": node("LoadLatent", latent="kept.latent"),
        "decode": node("VAEDecode", samples=["file", 0], vae=VAE),
        "out": node("SaveImage", images=["decode", 0], filename_prefix="kept")})
    np.testing.assert_array_equal(pictures(client, found, "out"), pictures(client, done))


def test_a_saved_vae_can_be_loaded(client: Client, server: Server) -> None:
    done = client.run(drawn(keep=node("VAESave", vae=VAE, filename_prefix="vae/saved")))
    (file,) = (server.base / "output" / "vae").glob("saved*.safetensors")
    folder = server.base / "models" / "vae"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.move(file, folder / "saved.safetensors")
    prompt = drawn()
    prompt["load"]["inputs"]["vae"] = "vae/saved.safetensors"
    again = client.run(prompt)
    np.testing.assert_array_equal(pictures(client, again), pictures(client, done))


@pytest.mark.parametrize(("kind", "name", "link", "ours", "theirs"), [
    ("KSampler", "model", ["load", 0], "INFINITY", "MODEL"),
    ("KSampler", "positive", ["text", 0], "INFINITY_CONDITIONING", "CONDITIONING"),
    ("LoraLoaderModelOnly", "model", ["load", 0], "INFINITY", "MODEL"),
    ("LoraLoader", "clip", ["load", 1], "INFINITY_TEXT_ENCODER", "CLIP"),
    ("ModelSamplingFlux", "model", ["load", 0], "INFINITY", "MODEL"),
    ("ModelMergeSimple", "model1", ["load", 0], "INFINITY", "MODEL"),
    ("ModelSave", "model", ["load", 0], "INFINITY", "MODEL"),
    ("CLIPTextEncode", "clip", ["load", 1], "INFINITY_TEXT_ENCODER", "CLIP"),
    ("ConditioningCombine", "conditioning_1", ["text", 0], "INFINITY_CONDITIONING",
     "CONDITIONING"),
    ("FreeU_V2", "model", ["load", 0], "INFINITY", "MODEL"),
])
def test_other_types_are_refused_before_anything_runs(
    client: Client, kind: str, name: str, link: list[Any], ours: str, theirs: str
) -> None:
    prompt = with_node(client, kind, {name: link})
    with pytest.raises(RefusedError) as refusal:
        client.queue(prompt)
    said = refusal.value.text("x")
    assert f"received_type({ours}) mismatch input_type({theirs})" in said


@pytest.mark.parametrize(("kind", "inputs", "said"), [
    ("VAEDecode", {"samples": ["empty", 0], "vae": VAE}, "another model's latent"),
    ("VAEDecodeTiled", {"samples": ["empty", 0], "vae": VAE}, "another model's latent"),
    ("VAEDecodeAudioTiled", {"samples": LATENT, "vae": VAE}, "Infinity's VAE serves VAE Decode"),
    ("VAEDecodeHunyuan3D", {"samples": LATENT, "vae": VAE}, "Infinity's VAE serves VAE Decode"),
    ("LTXVImgToVideoInplace", {"image": IMAGE, "vae": VAE, "latent": LATENT},
     "Infinity's VAE serves VAE Decode"),
    ("LTXVAudioVAEDecode", {"samples": LATENT, "audio_vae": VAE},
     "Infinity's VAE serves VAE Decode"),
    ("VaeDecodeShapeTrellis", {"samples": LATENT, "vae": VAE}, "Infinity's VAE serves VAE Decode"),
])
def test_wrong_ones_that_types_allow_say_what_to_connect(
    client: Client, kind: str, inputs: Prompt, said: str
) -> None:
    empty = node("EmptyLatentImage", width=256, height=256, batch_size=1)
    found = error(client, with_node(client, kind, inputs, empty=empty))
    assert said in found and "onnect" in found and "object has no attribute" not in found


@pytest.mark.parametrize(("at", "name", "link", "said"), [
    ("sample", "model", VAE, "Connect the model of Load Infinity"),
    ("sample", "conditioning", LATENT, "it got a LATENT. Connect the conditioning of Infinity"),
    ("sample", "plan", ["load", 0], "Connect the plan of Sparsity Planner"),
    ("sample", "size", IMAGE, "Connect the size of Infinity Size"),
    ("text", "text_encoder", VAE, "Connect the text encoder of Load Infinity"),
    ("compare", "reference_report", VAE, "Connect the report of an Accelerated Sampler"),
])
def test_what_comes_through_a_switch_is_looked_at(client: Client, at: str, name: str,
                                                  link: list[Any], said: str) -> None:
    if "ComfySwitchNode" not in client.json("/object_info/ComfySwitchNode"):
        pytest.skip("this ComfyUI has no node that passes anything on")
    prompt = quick_start(preview="off")
    prompt["other"] = sampler(preview="off")
    if at == "compare":
        prompt["compare"] = own("CompareRuns", report_1=["other", 2], side=128,
                                reference_report=["other", 2])
    if link[0] == "sample":
        link = ["other", link[1]]
    prompt["switch"] = node("ComfySwitchNode", switch=True, on_true=link, on_false=link)
    prompt[at]["inputs"][name] = ["switch", 0]
    if at == "text":  # of the other sampler, too
        del prompt["other"]
    done = client.wait(client.queue(prompt))
    assert done.status == "error" and done.error["node_id"] == at, done.error
    assert f"{name} is not what this input takes: it got " in done.error["exception_message"]
    assert said in done.error["exception_message"]

"""The sampler behind a latent or drafts: denoise, noise masks, and what is no such latent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.comfyui.client import Client
from tests.comfyui.edits import changed, drafted, drawn, encoded, rectangle, saved
from tests.comfyui.test_runs import pictures
from tests.comfyui.workflows import node, own, planner, quick_start

PLAIN = {"strategy": "dense"}


def out(client: Client, prompt: dict[str, Any], save: str = "out") -> np.ndarray[Any, Any]:
    return pictures(client, client.run(prompt), save)


def error(client: Client, prompt: dict[str, Any], at: str = "again") -> str:
    done = client.wait(client.queue(prompt))
    assert done.status == "error" and done.error["node_id"] == at, done.error
    return done.error["exception_message"]


def new(client: Client, **changes: Any) -> np.ndarray[Any, Any]:
    """The second sampler's picture without the first."""
    prompt = {**quick_start("a blue car", seed=11, preview="off", plan=["plan", 0], **changes),
              "plan": planner(**PLAIN)}
    return pictures(client, client.run(prompt))


def test_denoise_1_is_a_new_picture(client: Client) -> None:
    prompt = changed(denoise=1.0)
    np.testing.assert_array_equal(out(client, prompt), new(client))
    del prompt["again"]["inputs"]["denoise"]  # a workflow from before it was there
    np.testing.assert_array_equal(out(client, prompt), new(client))


def test_denoise_0_is_the_same_picture(client: Client) -> None:
    done = client.run(changed(denoise=0.0))
    np.testing.assert_array_equal(pictures(client, done, "out"), pictures(client, done))
    report = done.outputs["again"]["toprovar_report"][0]["runs"][0]
    assert len(report["scales"]) == 1 and report["flop_share"] < 0.1
    assert done.progress("again")[-1] == (7, 7)


def test_denoise_between_changes_more_and_more(client: Client) -> None:
    first = pictures(client, client.run(drawn()))
    last = new(client)
    near = []
    for denoise in (0.3, 0.6, 0.85):
        found = out(client, changed(denoise=denoise)).astype(int)
        near.append(np.abs(found - first).mean())
        assert not np.array_equal(found, last)
    assert near == sorted(near) and near[0] > 0


def test_encoded_pictures_are_varied(client: Client) -> None:
    """0 gives back what Infinity Encode shows, by VAE Encode as by Infinity Encode."""
    prompt = changed(denoise=0.0, latent_image=["latent", 0])
    prompt["latent"] = node("VAEEncode", pixels=["sample", 0], vae=["load", 2])
    prompt["code"] = encoded(image=["sample", 0])
    prompt["seen"] = saved(["code", 1], "seen")
    done = client.run(prompt)
    found, seen = (pictures(client, done, name) for name in ("out", "seen"))
    np.testing.assert_array_equal(found, seen)
    assert np.abs(seen.astype(int) - pictures(client, done)).mean() < 12
    prompt["again"]["inputs"]["latent_image"] = ["code", 0]
    np.testing.assert_array_equal(out(client, prompt), seen)


def test_each_latent_of_a_batch_is_varied(client: Client) -> None:
    prompt = changed(denoise=0.0)
    prompt["sample"]["inputs"]["images"] = 2
    done = client.run(prompt)
    np.testing.assert_array_equal(pictures(client, done, "out"), pictures(client, done))
    prompt["second"] = node("LatentFromBatch", samples=["sample", 1], batch_index=1, length=1)
    prompt["again"]["inputs"]["latent_image"] = ["second", 0]
    found = out(client, prompt)  # its numbers alone are left: quantised anew
    assert np.abs(found.astype(int) - pictures(client, done)[1:]).mean() < 6
    prompt["again"]["inputs"] |= {"latent_image": ["sample", 1], "conditioning": ["three", 0]}
    prompt["three"] = own("TextEncode", text_encoder=["load", 1], text="a cat\na dog\na car",
                          prompt_per_line=True)
    assert "image holds 2 pictures for 3 to be drawn" in error(client, prompt)


def test_drafts_are_a_beginning_too(client: Client) -> None:
    """Denoise 0 draws what they lack, with their own prompt and seed the picture itself."""
    prompt = drafted(images=1)
    prompt["again"] = own("Sampler", **{
        **quick_start()["sample"]["inputs"], "latent_image": ["draft", 0], "denoise": 0.0,
        "pixels": "auto", "plan": ["plan", 0]})
    prompt["out"] = saved(["again", 0])
    expected = pictures(client, client.run(drawn()))
    np.testing.assert_array_equal(out(client, prompt), expected)
    prompt["again"]["inputs"]["pixels"] = "0.25M"
    prompt["plan"]["inputs"]["pixels"] = "0.25M"
    prompt["plan small"] = planner(**PLAIN)
    prompt["draft"]["inputs"]["plan"] = ["plan small", 0]
    assert out(client, prompt).shape == (1, 512, 512, 3)


@pytest.mark.parametrize("kind", ["SetLatentNoiseMask", "VAEEncodeForInpaint"])
def test_noise_masks_are_honoured(client: Client, kind: str) -> None:
    """Codes outside of them are the source's, without exception."""
    prompt = {**changed(latent_image=["masked", 0]), **rectangle(64, 96, 96, 64)}
    if kind == "SetLatentNoiseMask":
        prompt["masked"] = node(kind, samples=["sample", 1], mask=["mask", 0])
        source = ["sample", 1]
    else:
        prompt["masked"] = node(kind, pixels=["sample", 0], vae=["load", 2], mask=["mask", 0],
                                grow_mask_by=0)
        prompt["zero"] = own("Sampler", **{**prompt["again"]["inputs"], "denoise": 0.0})
        source = ["zero", 1]
    prompt["before"] = node("SaveLatent", samples=source, filename_prefix="before")
    prompt["after"] = node("SaveLatent", samples=["again", 1], filename_prefix="after")
    codes = latents(client, client.run(prompt), "before", "after")
    inside = np.zeros((16, 16), dtype=bool)
    inside[6:10, 4:10] = True
    differs = (codes[0] != codes[1]).any((0, 1))
    assert not differs[~inside].any() and differs[inside].mean() > 0.9


def latents(client: Client, done: Any, *names: str) -> list[np.ndarray[Any, Any]]:
    """What Save Latent has written."""
    from safetensors.numpy import load

    files = [done.outputs[name]["latents"][0] for name in names]
    return [load(client.picture(file))["latent_tensor"] for file in files]


@pytest.mark.parametrize(("kind", "inputs", "said"), [
    ("EmptyLatentImage", {"width": 256, "height": 256, "batch_size": 1},
     "this is another model's latent"),
    ("LatentCrop", {"samples": ["sample", 1], "width": 112, "height": 128, "x": 0, "y": 0},
     "which Infinity does not draw; the nearest size is"),
    ("SetLatentNoiseMask", {"samples": ["sample", 1], "mask": ["black", 0]},
     "black everywhere, so nothing would be drawn"),
])
def test_what_is_no_such_latent_says_so(client: Client, kind: str, inputs: dict[str, Any],
                                        said: str) -> None:
    prompt = {**changed(latent_image=["wrong", 0], denoise=0.5), **rectangle(0, 0, 8, 8)}
    prompt["wrong"] = node(kind, **inputs)
    assert said in error(client, prompt)


def test_a_plan_of_another_size_says_so(client: Client) -> None:
    prompt = changed(denoise=0.5, plan=["other", 0])
    prompt["other"] = planner(**PLAIN, pixels="0.25M")
    assert "use the plan's size, or make a plan for this one" in error(client, prompt)

"""Workflows through the queue, against the engine called directly."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from tests.comfyui.client import Client, Outcome
from tests.comfyui.server import Server
from tests.comfyui.workflows import model_and_text, node, own, planned, quick_start, sampler

DENSE = {"strategy": "dense"}


def pictures(client: Client, outcome: Outcome, save: str = "save") -> np.ndarray:
    """Saved pictures as [B, H, W, 3] uint8."""
    files = outcome.outputs[save]["images"]
    return np.stack([np.asarray(Image.open(io.BytesIO(client.picture(f)))) for f in files])


@pytest.mark.parametrize(("name", "plan", "scales"), [
    ("auto", None, None), ("toprovar", {"strategy": "toprovar"}, None), ("dense", DENSE, 7),
    ("before", {"strategy": "toprovar", "toprovar_planned": "before the run",
                "toprovar_start_scale": 4, "toprovar_dropped": "identity"}, 7),
    ("inside", {"strategy": "toprovar", "toprovar_start_scale": 5,
                "toprovar_dropped": "cached"}, 7),
    ("exit", {"strategy": "toprovar", "toprovar_start_scale": 5}, 6),
    ("fastvar", {"strategy": "fastvar"}, 6), ("skipvar", {"strategy": "skipvar"}, 6),
])
def test_pictures_are_the_engines_and_progress_counts_scales(
    client: Client, reference: Path, name: str, plan: dict[str, Any] | None, scales: int | None
) -> None:
    """How many scales are run follows from the calibration in the box where None is given."""
    done = client.run(quick_start() if plan is None else planned(plan))
    np.testing.assert_array_equal(pictures(client, done), np.load(reference / f"{name}.npy"))
    report = done.outputs["sample"]["toprovar_report"][0]
    if scales is None:
        scales = sum(one["rows"] > 0 for one in report["runs"][0]["scales"])
        assert 4 <= scales <= 7
    steps = 7 if plan is None else scales  # decided in the run, so that all are counted
    assert done.progress("sample") == [(i + 1, steps) for i in range(steps)]
    assert len(done.previews) == scales
    for preview in done.previews:
        assert Image.open(io.BytesIO(preview)).size == (256, 256)
    assert report["runs"][0]["seed"] == 7
    if plan is None:
        assert report["runs"][0]["flop_share"] < 1


def test_size_negative_guidance_and_batch_reach_the_engine(client: Client, reference: Path
                                                           ) -> None:
    prompt = planned(
        {**DENSE, "size": ["size", 0]}, conditioning=["text", 0], negative=["negative", 0],
        seed=3, images=2, cfg=2.5, tau=0.4, top_p=0.9, size=["size", 0], preview="off",
    )
    prompt["text"]["inputs"]["text"] = "a blue car"
    prompt["negative"] = own("TextEncode", text_encoder=["load", 1], text="a cat",
                             prompt_per_line=False)
    prompt["size"] = own("Size", aspect="3:2", pixels="0.06M", width=0, height=0)
    done = client.run(prompt)
    np.testing.assert_array_equal(pictures(client, done), np.load(reference / "wide.npy"))
    assert done.previews == []


def test_a_prompt_on_each_line(client: Client, reference: Path) -> None:
    prompt = quick_start("a red apple\n\n  two blue cars ")
    prompt["text"]["inputs"]["prompt_per_line"] = True
    done = client.run(prompt)
    np.testing.assert_array_equal(pictures(client, done), np.load(reference / "two.npy"))
    assert done.progress("sample")[-1] == (7, 7)  # both at once: nothing is planned inside the run
    assert len(done.outputs["sample"]["toprovar_report"][0]["runs"]) == 1


def test_pictures_planned_inside_their_runs_come_one_by_one(client: Client) -> None:
    prompt = planned({"strategy": "toprovar", "toprovar_dropped": "cached",
                      "toprovar_start_scale": 5}, images=2)
    done = client.run(prompt)
    assert done.progress("sample")[-1] == (14, 14)
    assert len(done.outputs["sample"]["toprovar_report"][0]["runs"]) == 2


def test_core_vae_nodes_give_what_the_engine_gives(client: Client, server: Server,
                                                   reference: Path) -> None:
    prompt = planned(DENSE)
    prompt |= {
        "latent": node("SaveLatent", samples=["sample", 1], filename_prefix="drawn"),
        "decode": node("VAEDecode", samples=["sample", 1], vae=["load", 2]),
        "decoded": node("SaveImage", images=["decode", 0], filename_prefix="decoded"),
        "tiled": node("VAEDecodeTiled", samples=["sample", 1], vae=["load", 2], tile_size=128,
                      overlap=32, temporal_size=64, temporal_overlap=8),
        "tiles": node("SaveImage", images=["tiled", 0], filename_prefix="tiled"),
        "picture": node("ImageFromBatch", image=["decode", 0], batch_index=0, length=1),
        "encode": node("VAEEncode", pixels=["picture", 0], vae=["load", 2]),
        "encoded": node("SaveLatent", samples=["encode", 0], filename_prefix="encoded"),
    }
    done = client.run(prompt)
    files = {name: server.base / "output" / done.outputs[name]["latents"][0]["filename"]
             for name in ("latent", "encoded")}
    drawn = load_file(files["latent"])["latent_tensor"]
    np.testing.assert_array_equal(drawn, np.load(reference / "latents.npy"))
    decoded = pictures(client, done, "decoded")
    np.testing.assert_array_equal(decoded, np.load(reference / "dense.npy"))
    # Encoded from the float picture, the reference from the 8-bit one.
    encoded, wanted = load_file(files["encoded"])["latent_tensor"], np.load(
        reference / "encoded.npy")
    assert encoded.shape == wanted.shape
    assert np.corrcoef(encoded.ravel(), wanted.ravel())[0, 1] > 0.999
    difference = np.abs(pictures(client, done, "tiles").astype(int) - decoded.astype(int))
    assert 0 < difference.mean() < 12


def test_encoding_a_loaded_picture_equals_the_engine(client: Client, server: Server,
                                                     reference: Path) -> None:
    Image.fromarray(np.load(reference / "dense.npy")[0]).save(server.base / "input" / "dense.png")
    prompt = {
        **{"load": model_and_text()["load"]},
        "picture": node("LoadImage", image="dense.png"),
        "encode": node("VAEEncode", pixels=["picture", 0], vae=["load", 2]),
        "save": node("SaveLatent", samples=["encode", 0], filename_prefix="exact"),
    }
    done = client.run(prompt)
    file = server.base / "output" / done.outputs["save"]["latents"][0]["filename"]
    found = load_file(file)["latent_tensor"]
    np.testing.assert_array_equal(found, np.load(reference / "encoded.npy"))


def test_a_new_seed_encodes_nothing_and_an_old_one_runs_nothing(client: Client) -> None:
    client.run(quick_start(seed=11))
    other = client.run(quick_start(seed=12))
    assert {"load", "text"} <= set(other.cached)
    assert set(other.executed) == {"sample", "save"}
    again = client.run(quick_start(seed=12))
    assert set(again.cached) >= {"load", "text", "sample", "save"}
    assert again.executed == []


def test_interrupt_ends_a_run_within_it_and_leaves_the_queue_usable(client: Client) -> None:
    stopped = client.wait(client.queue(quick_start(seed=21, pixels="0.25M")), interrupt_at=3)
    assert stopped.status == "interrupted"
    assert stopped.error["node_id"] == "sample"
    assert max(value for value, _ in stopped.progress("sample")) <= 4  # of 10
    assert client.run(quick_start(seed=22)).status == "success"


def test_models_unload_and_come_back(client: Client, reference: Path) -> None:
    client.run(planned(DENSE))
    client.post("/free", {"unload_models": True, "free_memory": True})
    done = client.run(planned(DENSE))
    while "sample" in done.cached:  # the request is served when the queue comes to it
        done = client.run(planned(DENSE))
    np.testing.assert_array_equal(pictures(client, done), np.load(reference / "dense.npy"))


def test_overlay_shows_dropped_tokens_on_request(client: Client) -> None:
    prompt = planned({"strategy": "toprovar", "toprovar_planned": "before the run",
                      "toprovar_start_scale": 4, "toprovar_dropped": "identity"}, overlay=True)
    prompt["overlay"] = node("PreviewImage", images=["sample", 4])
    done = client.run(prompt)
    shown = pictures(client, done, "overlay")[0]
    assert shown.shape[1] > 2 * shown.shape[0]  # a panel for each of the pruned scales
    off = {**quick_start(), "sample": sampler(seed=31),
           "overlay": node("PreviewImage", images=["sample", 4])}
    refused = client.wait(client.queue(off))
    assert "switch on overlay" in str(refused.messages)

"""The VAE where ComfyUI's Select VAE Device has had it in hand."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest

from tests.comfyui.client import Client
from tests.comfyui.server import ROOT, Installation, environment
from tests.comfyui.test_runs import pictures
from tests.comfyui.workflows import node, quick_start

MOVED = """
import asyncio, copy, importlib.util, json, sys
sys.argv = ["main.py", "--cpu"]
sys.path.insert(0, {comfyui!r})
import comfy.options
comfy.options.enable_args_parsing()
import torch
spec = importlib.util.spec_from_file_location("pack", {init!r})
pack = importlib.util.module_from_spec(spec)
sys.modules["pack"] = pack
spec.loader.exec_module(pack)
asyncio.run(asyncio.run(pack.comfy_entrypoint()).get_node_list())
from pack.nodes.support import files, loading
found = {{}}
with torch.inference_mode():
    model, _ = loading.load_infinity(files.EMBEDDED, None, None, None, "float32", "auto")
    vae = model.vae
    codes = torch.randn(1, vae.latent_channels, 8, 8, generator=torch.Generator().manual_seed(1))
    expected = vae.decode(codes)

    # What the node does when the device is the one that the VAE has.
    other = copy.copy(vae)
    other.patcher = vae.patcher.clone()
    other.patcher.offload_device = torch.device("cpu")
    other.first_stage_model = other.patcher.model
    other.device = vae.device
    found["same pixels"] = torch.equal(other.decode(codes), expected)
    found["its own patcher"] = other.part.patcher is other.patcher is not vae.patcher
    found["the same network"] = other.first_stage_model is vae.first_stage_model

    # And when it is another: the VAE gets a network of its own.
    make, arguments = vae.patcher.cached_patcher_init
    cloned = getattr(vae.patcher, "deepclone_multigpu", None)  # newer ComfyUI's
    third = copy.copy(vae)
    third.patcher = cloned(torch.device("cpu")) if cloned else make(*arguments)
    third.first_stage_model = third.patcher.model
    third.device = torch.device("cpu")
    found["another network"] = third.first_stage_model is not vae.first_stage_model
    found["its pixels are the same"] = torch.equal(third.decode(codes), expected)
    weights = list(third.first_stage_model.parameters())
    found["its weights are plain"] = not any(w.is_inference() for w in weights)
    third.device = "meta"
    found["devices are each one's own"] = (
        third.patcher.load_device.type == "meta" and vae.device.type == "cpu")
    try:
        third.first_stage_model = vae.patcher.model
    except ValueError as error:
        found["no foreign network"] = "patcher" in str(error)
print(json.dumps(found))
"""


def test_a_copy_on_another_device_decodes_the_same(installation: Installation) -> None:
    code = MOVED.format(comfyui=str(installation.folder / "ComfyUI"),
                        init=str(ROOT / "__init__.py"))
    done = subprocess.run([str(installation.python), "-c", code], capture_output=True, text=True,
                          env=environment())
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == 8 and all(found.values()), found


def test_select_vae_device(client: Client) -> None:
    if "SelectVAEDevice" not in client.json("/object_info"):
        pytest.skip("this ComfyUI has no node Select VAE Device")
    prompt = quick_start()
    prompt["device"] = node("SelectVAEDevice", vae=["load", 2], device="default")
    prompt["decode"] = node("VAEDecode", samples=["sample", 1], vae=["device", 0])
    prompt["again"] = node("SaveImage", images=["decode", 0], filename_prefix="device")
    done = client.run(prompt)
    np.testing.assert_array_equal(pictures(client, done, "again"), pictures(client, done))

"""A T5 text encoder as ComfyUI's users have it: one file in models/text_encoders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import T5Config, T5EncoderModel

from tests.checkpoints.test_text_file import header_only
from tests.comfyui.client import Client
from tests.comfyui.server import Server
from tests.comfyui.test_errors import fails
from tests.comfyui.test_runs import pictures
from tests.comfyui.workflows import quick_start
from toprovar.bundled import bundled_model
from toprovar.checkpoints.text_shape import TextShape, read_text_shape


@pytest.fixture
def folder(server: Server) -> Path:
    found = server.base / "models" / "text_encoders"
    found.mkdir(parents=True, exist_ok=True)
    return found


def test_one_file_encodes_the_prompt(client: Client, folder: Path) -> None:
    """An encoder of T5's words whose features are as wide as the embedded model's."""
    wide = read_text_shape(bundled_model() / "text_encoder").d_model
    torch.manual_seed(0)
    net = T5EncoderModel(T5Config(vocab_size=32128, d_model=wide, d_kv=8, d_ff=32, num_layers=1,
                                  num_heads=2, feed_forward_proj="gated-gelu"))
    state = {k: v.to(torch.float16) for k, v in net.state_dict().items() if "embed_tokens" not in k}
    save_file(state, folder / "t5_small_fp16.safetensors")
    own = pictures(client, client.run(quick_start()))
    prompt = quick_start()
    prompt["load"]["inputs"]["text_encoder"] = "t5_small_fp16.safetensors"
    found = pictures(client, client.run(prompt))
    assert found.shape == own.shape and (found != own).any()


def test_another_t5_is_named(client: Client, folder: Path) -> None:
    shape = TextShape(vocab_size=32128, d_model=4096, d_kv=64, d_ff=10240, num_layers=24,
                      num_heads=64, feed_forward_proj="gated-gelu")
    header_only(folder / "t5xxl_fp8.safetensors", dict(shape.tensors()))
    prompt = quick_start()
    prompt["load"]["inputs"]["text_encoder"] = "t5xxl_fp8.safetensors"
    said = fails(client, prompt)
    assert "t5xxl_fp8.safetensors: the wrong T5: this is t5xxl" in said
    assert "Infinity needs flan-t5-xl" in said

"""Text encoders whose blocks wait in host memory: the same features, and weights that stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import tiny_text_encoder, tiny_tokenizer
from toprovar.models.text_encoder import encode_prompts
from toprovar.models.text_streaming import stream_text, text_blocks, text_stream_of

GPU = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device")])
PROMPTS = ["a red apple", "two cats"]


@pytest.fixture(params=["cpu", GPU])
def device(request: Any) -> str:
    return request.param


def encoder_of(blocks: int = 5) -> Any:
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(0)
    return T5EncoderModel(T5Config(vocab_size=32, d_model=24, d_kv=8, num_heads=2,
                                   num_layers=blocks, d_ff=32, dropout_rate=0.0)).eval()


@pytest.mark.parametrize("streamed", [0, 1, 2, 5, 9])
def test_features_are_the_same(device: str, streamed: int) -> None:
    whole, other = encoder_of().to(device), encoder_of()
    stream_text(other, device, streamed)
    for prompts in (PROMPTS, PROMPTS[:1], PROMPTS):
        found, expected = (encode_prompts(prompts, tiny_tokenizer(), encoder, graph=False)
                           for encoder in (other, whole))
        assert torch.equal(found.features, expected.features)
        assert found.features.device.type == torch.device(device).type


def test_weights_are_those_in_host_memory(device: str, tmp_path: Path) -> None:
    encoder = encoder_of()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    stream = stream_text(encoder, device, 3)
    assert stream is not None
    assert stream.streamed == (0, 2, 4)
    encode_prompts(PROMPTS, tiny_tokenizer(), encoder)
    for name, value in encoder.state_dict().items():
        assert torch.equal(value.cpu(), before[name]), name
    encoder.save_pretrained(tmp_path)
    streamed = [p for n in stream.streamed for p in text_blocks(encoder)[n].parameters()
                if p.ndim > 1 and p.shape[0] != 32]
    assert all(p.device.type == "cpu" for p in streamed)
    assert stream.host_bytes >= sum(p.nbytes for p in streamed)


def test_how_many_are_streamed_can_be_changed(device: str) -> None:
    encoder = encoder_of()
    expected = encode_prompts(PROMPTS, tiny_tokenizer(), encoder_of().to(device), graph=False)
    for streamed in (5, 2, 0, 3):
        stream_text(encoder, device, streamed)
        assert (text_stream_of(encoder) is not None) == (streamed > 0)
        found = encode_prompts(PROMPTS, tiny_tokenizer(), encoder, graph=False)
        assert torch.equal(found.features, expected.features)


def test_a_failed_forward_leaves_the_weights_at_home() -> None:
    encoder = encoder_of(2)
    stream_text(encoder, "cpu", 2)
    first: Any = text_blocks(encoder)[0]
    home = first.layer[0].SelfAttention.q.weight.data_ptr()

    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory")

    hook = first.layer[1].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        encode_prompts(PROMPTS, tiny_tokenizer(), encoder)
    hook.remove()
    assert first.layer[0].SelfAttention.q.weight.data_ptr() == home
    whole = encoder_of(2)
    assert torch.equal(encode_prompts(PROMPTS, tiny_tokenizer(), encoder).features,
                       encode_prompts(PROMPTS, tiny_tokenizer(), whole).features)


def test_embedded_encoder_has_blocks() -> None:
    assert len(text_blocks(tiny_text_encoder())) == 2

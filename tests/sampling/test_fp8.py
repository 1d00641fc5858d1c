"""Weights and KV cache of 8-bit numbers inside whole runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.sampling.test_graphs import SCHEDULE, plans, random_text, same
from tests.tiny import tiny_transformer
from toprovar.models.fp8 import Fp8Linear, is_quantized, quantize_blocks
from toprovar.models.transformer import InfinityTransformer
from toprovar.sampling import workspace
from toprovar.sampling.bits import ForcedBits
from toprovar.sampling.params import EngineOptions, SamplingParams
from toprovar.sampling.run import SamplingRun, ScaleState
from toprovar.sampling.streaming import stream_blocks

E4M3 = torch.float8_e4m3fn


def make(device: str) -> InfinityTransformer:
    """Heads of 64 and bfloat16 blocks, which 8-bit products give on a GPU."""
    model = tiny_transformer(depth=4, block_chunks=2, width=128)
    for layer in range(4):
        model.block(layer).bfloat16()
    nn.Module.to(model, device)
    return model


@pytest.fixture
def model(device: str) -> Iterator[InfinityTransformer]:
    found = make(device)
    yield found
    workspace.release(found)


def forced(model: InfinityTransformer, plan: Any = None, **options: Any) -> list[ScaleState]:
    generator = torch.Generator().manual_seed(3)
    bits = [torch.randint(0, 2, (1, n, 8), generator=generator, dtype=torch.uint8)
            for n in SCHEDULE.tokens]
    run = SamplingRun(model, random_text(5).to(model.null_text.device),
                      SamplingParams(SCHEDULE, 3.0, 0.7), plan=plan, choose=ForcedBits(bits),
                      options=EngineOptions(**options))
    return list(run)


def apart(a: list[ScaleState], b: list[ScaleState]) -> float:
    """Relative distance of the logits."""
    one, two = (torch.cat([s.logits.flatten() for s in states]) for states in (a, b))
    return float((one - two).norm() / two.norm())


@pytest.mark.parametrize("name", ["dense", "cached", "fastvar"])
def test_eight_bits_change_little(model: InfinityTransformer, name: str) -> None:
    """Each product is off by 0.04; in random weights nothing evens that out."""
    plan = plans(model)[name]
    wide = forced(model, plan, graphs=False, fused=True)
    cache = forced(model, plan, graphs=False, cache_dtype=E4M3)
    quantize_blocks(model)
    weights = forced(model, plan, graphs=False)
    assert 0 < apart(cache, wide) < 0.1
    assert 0 < apart(weights, wide) < 0.25


@pytest.mark.parametrize("name", ["dense", "identity", "exit"])
def test_recorded_eight_bit_runs(model: InfinityTransformer, name: str) -> None:
    plan = plans(model)[name]
    quantize_blocks(model)
    eager = forced(model, plan, graphs=False, cache_dtype=E4M3)
    for _ in range(2):
        same(forced(model, plan, graphs=True, cache_dtype=E4M3), eager)


def test_streamed_eight_bit_weights(device: str) -> None:
    whole, streamed = (quantize_blocks(make(device)) for _ in range(2))
    stream_blocks(streamed, device, resident=1)
    same(forced(streamed, graphs=False), forced(whole, graphs=False))


def test_half_the_memory_and_kept_so(model: InfinityTransformer) -> None:
    def nbytes(tensors: Iterator[Tensor]) -> int:
        return sum(t.nbytes for t in tensors)

    before = nbytes(model.block(0).ffn.parameters())
    quantize_blocks(model)
    assert is_quantized(model) and model.compute_dtype == torch.bfloat16
    first: Any = model.block(0).ffn.fc1
    assert isinstance(first, Fp8Linear)
    assert nbytes(model.block(0).ffn.parameters()) < 0.52 * before
    nn.Module.float(model)
    assert first.weight.dtype == E4M3 and first.scale.dtype == torch.float32
    quantize_blocks(model)  # once is enough
    assert model.block(0).ffn.fc1 is first


@pytest.mark.parametrize("what", ["weights", "cache"])
def test_plain_blocks_do_not_take_them(what: str) -> None:
    model = make("cpu")
    if what == "weights":
        quantize_blocks(model)
    options = {"cache_dtype": E4M3} if what == "cache" else {}
    with pytest.raises(ValueError, match=r"8-bit .* can only be run fused"):
        forced(model, fused=False, **options)

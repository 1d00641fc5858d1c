"""Blocks whose memory is lent out: in host memory while they are away, and what they were after."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.sampling.test_graphs import draw, same
from tests.tiny import random_text, tiny_transformer
from toprovar.models.fp8 import LAYERS, quantize_blocks
from toprovar.models.transformer import InfinityTransformer
from toprovar.sampling import workspace
from toprovar.sampling.lending import forget_lent, lend_blocks, lent_bytes, lent_of
from toprovar.sampling.streaming import stream_blocks


def matrices(model: InfinityTransformer, layer: int) -> list[torch.Tensor]:
    return [model.block(layer).get_parameter(f"{name}.weight") for name in LAYERS]


@pytest.mark.parametrize("narrow", [False, True], ids=["wide", "8-bit"])
def test_they_come_back_as_they_were(device: str, narrow: bool) -> None:
    whole, model = (tiny_transformer(depth=4, block_chunks=2) for _ in range(2))
    if narrow:
        quantize_blocks(whole)
        quantize_blocks(model)
    nn.Module.to(whole, device)
    nn.Module.to(model, device)
    lent = lend_blocks(model, torch.device(device), [0, 2])
    assert lent is not None and lent_of(model) is lent
    assert lent.nbytes == 2 * lent_bytes(model.block(0))
    for seed in (1, 2, 3):
        found, run = draw(model, random_text(4), None, graphs=True, seed=seed)
        same(found, draw(whole, random_text(4), None, graphs=False, seed=seed)[0])
        if device == "cuda" and seed > 1:
            assert run.replayed == 7  # at the same addresses, so that recordings hold
        before = [w.clone().cpu() for w in matrices(model, 2)]
        lent.go()
        assert lent.away
        assert all(w.device.type == "cpu" for layer in (0, 2) for w in matrices(model, layer))
        assert all(w.device.type == device for w in matrices(model, 1))
        lent.come_back()
        assert not lent.away
        assert all(torch.equal(w.cpu().view(torch.uint8), old.view(torch.uint8))
                   for w, old in zip(matrices(model, 2), before, strict=True))
    workspace.release(model)
    workspace.release(whole)


def test_lent_and_streamed_blocks_go_together(device: str) -> None:
    whole, model = (tiny_transformer(depth=4, block_chunks=2) for _ in range(2))
    nn.Module.to(whole, device)
    lend_blocks(model, torch.device(device), [0, 2])
    stream_blocks(model, device, resident=2)
    for seed in (1, 2):
        found, _ = draw(model, random_text(4), None, graphs=True, seed=seed)
        same(found, draw(whole, random_text(4), None, graphs=False, seed=seed)[0])
        lent = lent_of(model)
        assert lent is not None
        lent.go()
        lent.come_back()
    workspace.release(model)
    workspace.release(whole)


def test_none_are_lent_where_none_are_named() -> None:
    model = tiny_transformer()
    assert lend_blocks(model, torch.device("cpu"), [1]) is not None
    assert lend_blocks(model, torch.device("cpu"), []) is None
    assert lent_of(model) is None
    forget_lent(model)

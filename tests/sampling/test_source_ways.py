"""Edits in every way in which runs are computed: recorded, from host memory, in 8 bits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.sampling.editing import SCHEDULE, edited, pictures
from tests.sampling.test_graphs import plans, same
from tests.tiny import random_text, tiny_transformer
from toprovar.models.fp8 import quantize_blocks
from toprovar.models.transformer import InfinityTransformer
from toprovar.ops.fp8 import E4M3
from toprovar.sampling import workspace
from toprovar.sampling.streaming import stream_blocks


@pytest.fixture
def model(device: str) -> Iterator[InfinityTransformer]:
    found = tiny_transformer(depth=4, block_chunks=2, family="varedit")
    nn.Module.to(found, device)
    yield found
    workspace.release(found)


PLANS = ["dense", "identity", "cached", "exit", "unconditional row", "fastvar", "mixtures",
         "bounded", "window", "in run"]


@pytest.mark.parametrize("name", PLANS)
def test_recorded_edits_are_those_of_eager_runs(model: InfinityTransformer, name: str) -> None:
    """Other pictures, instructions of other lengths: nothing of the recorded edit sticks."""
    plan = plans(model)[name]
    for number, length in enumerate((5, 3, 16)):
        text, source = random_text(length, seed=number), pictures(model, SCHEDULE, 1, number)
        eager, _ = edited(model, text, source, plan, graphs=False, fused=True)
        found, run = edited(model, text, source, plan, graphs=True, fused=True)
        same(found, eager)
        if number and name != "in run":
            assert run.report().replayed_scales == len(found) + 1  # the source's pass, too
    plain, _ = edited(model, text, source, plan, fused=False, graphs=False)
    if name not in ("in run", "mixtures"):
        assert len(plain) == len(eager)
        torch.testing.assert_close(plain[-1].logits, eager[-1].logits, atol=2e-4, rtol=0)


@pytest.mark.parametrize("graphs", [False, True], ids=["eager", "recorded"])
@pytest.mark.parametrize(("name", "hosted"), [("dense", 1), ("skipvar", 4), ("in run", 4)])
def test_keys_that_wait_in_host_memory(model: InfinityTransformer, name: str, hosted: int,
                                       graphs: bool) -> None:
    plan = plans(model)[name]
    for number in (1, 2):
        text, source = random_text(5, seed=number), pictures(model, SCHEDULE, 1, number)
        eager, _ = edited(model, text, source, plan, graphs=False, fused=True)
        same(edited(model, text, source, plan, graphs=graphs, fused=True, hosted_layers=hosted)[0],
             eager)


@pytest.mark.parametrize("graphs", [False, True], ids=["eager", "recorded"])
@pytest.mark.parametrize("kept", [0, 2])
def test_streamed_blocks(model: InfinityTransformer, device: str, graphs: bool, kept: int) -> None:
    streamed = tiny_transformer(depth=4, block_chunks=2, family="varedit")
    stream_blocks(streamed, device, resident=kept)
    for number in (1, 2):
        text, source = random_text(5, seed=number), pictures(model, SCHEDULE, 1, number)
        same(edited(streamed, text, source, graphs=graphs)[0],
             edited(model, text, source, graphs=False, fused=True)[0])
    workspace.release(streamed)


@pytest.mark.parametrize("name", ["dense", "bounded"])
def test_eight_bits_change_little(device: str, name: str) -> None:
    wide = tiny_transformer(depth=4, block_chunks=2, width=128, family="varedit")
    for layer in range(4):
        wide.block(layer).bfloat16()
    nn.Module.to(wide, device)
    plan, text, source = plans(wide)[name], random_text(5), pictures(wide, SCHEDULE, 1)

    def logits(**how: Any) -> Tensor:
        return torch.cat([s.logits.flatten() for s in edited(wide, text, source, plan, **how)[0]])

    whole = logits(graphs=False, fused=True)
    eager = logits(graphs=False, cache_dtype=E4M3)
    assert 0 < (eager - whole).norm() / whole.norm() < 0.1
    for _ in range(2):
        recorded = logits(graphs=True, cache_dtype=E4M3)
        torch.testing.assert_close(recorded, eager, atol=1e-4, rtol=1e-4)
    quantize_blocks(wide)
    assert 0 < (logits(graphs=False) - whole).norm() / whole.norm() < 0.25
    workspace.release(wide)

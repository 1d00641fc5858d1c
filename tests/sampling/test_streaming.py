"""Weights that wait in host memory: the same pictures from two rooms on the device."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from torch import nn

from tests.sampling.test_graphs import SCHEDULE, draw, plans, same
from tests.tiny import random_text, tiny_transformer
from toprovar.models.fp8 import LAYERS
from toprovar.models.transformer import InfinityTransformer
from toprovar.sampling import workspace
from toprovar.sampling.params import EngineOptions, SamplingParams
from toprovar.sampling.run import SamplingRun
from toprovar.sampling.streaming import stream_blocks


@pytest.fixture
def resident(device: str) -> Iterator[InfinityTransformer]:
    model = tiny_transformer(depth=4, block_chunks=2)
    nn.Module.to(model, device)
    yield model
    workspace.release(model)


@pytest.mark.parametrize("graphs", [False, True], ids=["eager", "recorded"])
@pytest.mark.parametrize("name", ["dense", "identity", "fastvar"])
@pytest.mark.parametrize("kept", [0, 2, 4])
def test_streamed_pictures_are_the_same(
    resident: InfinityTransformer, device: str, name: str, graphs: bool, kept: int
) -> None:
    model = tiny_transformer(depth=4, block_chunks=2)
    stream = stream_blocks(model, device, resident=kept)
    plan = plans(resident)[name]
    for seed, length in ((1, 5), (2, 3)):
        found, _ = draw(model, random_text(length), plan, graphs, seed)
        same(found, draw(resident, random_text(length), plan, False, seed)[0])
    large = sum(resident.block(0).get_parameter(f"{n}.weight").nbytes for n in LAYERS)
    assert stream.device_bytes == (0 if kept == 4 else 2 * large)
    workspace.release(model)


def test_only_fused_blocks_can_be_streamed() -> None:
    model = tiny_transformer()
    stream_blocks(model, "cpu")
    with pytest.raises(ValueError, match="streamed blocks can only be run fused"):
        SamplingRun(model, random_text(3), SamplingParams(SCHEDULE),
                    options=EngineOptions(fused=False))


def test_residents_are_counted() -> None:
    with pytest.raises(ValueError, match="0 or more, got -1"):
        stream_blocks(tiny_transformer(), "cpu", resident=-1)

"""Keys and values that wait in host memory: the same pictures, less on the device."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.sampling.test_graphs import SCHEDULE, draw, model, plans, same
from tests.tiny import random_text
from toprovar.models.transformer import InfinityTransformer
from toprovar.ops.fp8 import E4M3
from toprovar.rooms import spread
from toprovar.sampling.cache import CacheLayout, KVCache
from toprovar.sampling.hosted_cache import HostedCache, hosted_sizes
from toprovar.sampling.params import EngineOptions, SamplingParams
from toprovar.sampling.run import SamplingRun

__all__ = ["model"]

COUNTS = [(n,) * 4 for n in SCHEDULE.tokens]


@pytest.mark.parametrize("graphs", [False, None], ids=["eager", "recorded"])
@pytest.mark.parametrize("hosted", [1, 3, 4])
@pytest.mark.parametrize("name", ["dense", "identity", "cached", "exit", "fastvar", "skipvar",
                                  "unconditional row", "in run", "bounded", "mixtures"])
def test_pictures_are_the_same(model: InfinityTransformer, name: str, hosted: int,
                               graphs: bool | None) -> None:
    plan = plans(model)[name]
    for seed, length in ((1, 5), (2, 3)):
        expected, _ = draw(model, random_text(length), plan, False, seed)
        options = EngineOptions(graphs=graphs, fused=True, hosted_layers=hosted)
        run = SamplingRun(model, random_text(length).to(model.null_text.device),
                          SamplingParams(SCHEDULE, 3.0, 0.7), plan=plan, options=options,
                          generators=torch.Generator().manual_seed(seed))
        same(list(run), expected)


@pytest.mark.parametrize("hosted", [0, 1, 2, 4])
@pytest.mark.parametrize("runs_again", [False, True])
def test_bytes_are_as_foreseen(hosted: int, runs_again: bool) -> None:
    layers = spread(hosted, 4)
    cache = HostedCache(COUNTS, layers, 2, 2, 16, torch.bfloat16, torch.device("cpu"),
                        runs_again=runs_again)
    found = cache.nbytes, cache.host_bytes
    assert hosted_sizes(COUNTS, layers, 2, 32, 2, runs_again) == found
    if hosted == 0 and not runs_again:
        whole = KVCache(CacheLayout.plan(COUNTS), 2, 2, 16, torch.bfloat16, torch.device("cpu"))
        assert found == (whole.nbytes, 0)
    if hosted == 4:  # two rooms, and every key of all scales but the last at home
        most, kept = sum(SCHEDULE.tokens), sum(SCHEDULE.tokens[:-1])
        assert found == (2 * most * 256, 4 * (most if runs_again else kept) * 256)


def test_narrow_numbers_wait_as_well(model: InfinityTransformer) -> None:
    def drawn(hosted: int) -> list[Any]:
        run = SamplingRun(model, random_text(5).to(model.null_text.device),
                          SamplingParams(SCHEDULE, 3.0, 0.7), plan=None,
                          options=EngineOptions(cache_dtype=E4M3, fused=True,
                                                hosted_layers=hosted),
                          generators=torch.Generator().manual_seed(1))
        return list(run)

    same(drawn(3), drawn(0))


def test_scales_can_be_run_again(device: str) -> None:
    """Keys of a branch that is given up are overwritten by those of the next."""
    there = torch.device(device)
    cache = HostedCache([(1, 1), (4, 4)], (1,), 1, 1, 2, torch.float32, there, runs_again=True)

    def scale(count: int, value: float) -> None:
        cache.begin([0, 1], 1)
        for layer in (0, 1):
            k, v = cache.new(layer, count, 1)
            k.fill_(value)
            v.fill_(-value)
            cache.put_away(layer, count, 1)
        cache.end()

    scale(1, 1.0)
    for value in (2.0, 3.0):
        cache.lengths = [1, 1]
        scale(4, value)
        cache.begin([], 1)
        cache.new(1, 0, 1)
        k, v = cache.visible(1, 1)
        assert k.flatten().tolist() == [1.0] * 2 + [value] * 8
        assert torch.equal(v, -k)


def test_a_layer_has_no_more_room_than_was_laid_out() -> None:
    cache = HostedCache([(1, 1), (4, 4)], (1,), 1, 1, 2, torch.float32, torch.device("cpu"))
    with pytest.raises(ValueError, match="layer 1: 6 keys after 0 do not fit"):
        cache.new(1, 6, 1)


@pytest.mark.parametrize(("count", "among", "found"), [
    (0, 4, ()), (1, 4, (3,)), (2, 4, (1, 3)), (3, 4, (0, 1, 3)), (4, 4, (0, 1, 2, 3)),
    (3, 32, (9, 20, 31)),
])
def test_hosted_layers_lie_far_apart(count: int, among: int, found: tuple[int, ...]) -> None:
    assert spread(count, among) == found


def test_more_layers_than_there_are_cannot_be_spread() -> None:
    with pytest.raises(ValueError, match="expected 0 to 4, got 5"):
        spread(5, 4)

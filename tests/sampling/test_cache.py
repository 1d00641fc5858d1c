from __future__ import annotations

import random

import pytest
import torch

from toprovar.sampling.cache import CacheLayout, KVCache
from toprovar.schedules import get_schedule


def simulate(counts: list[list[int]]) -> None:
    """Write a distinct number for every key, and at each (scale, layer) read what is visible."""
    layout = CacheLayout.plan(counts)
    cache = KVCache(layout, 2, 1, 1, torch.float32, torch.device("cpu"))
    expected: list[list[float]] = [[] for _ in counts[0]]
    number = 0
    for scale, row in enumerate(counts):
        for layer, count in enumerate(row):
            new = [float(number + i) for i in range(count)]
            number += count
            expected[layer] += new
            keys, values = cache.new(scale, layer)
            assert keys.shape == (2, count, 1, 1)
            keys[0, :, 0, 0] = torch.tensor(new)
            keys[1, :, 0, 0] = -torch.tensor(new)
            values.copy_(keys * 2)
            k, v = cache.visible(scale, layer)
            assert k[0, 0, :, 0].tolist() == expected[layer]
            assert v[1, 0, :, 0].tolist() == [-2 * e for e in expected[layer]]


@pytest.mark.parametrize("seed", range(30))
def test_visible_keys_are_all_keys_so_far(seed: int) -> None:
    """Also at the last scale, whose keys lie over those of layers that are done."""
    draw = random.Random(seed)
    scales, layers = draw.randint(1, 5), draw.randint(1, 6)
    top = draw.choice([3, 12])
    simulate([[draw.randint(0, top) for _ in range(layers)] for _ in range(scales)])


def test_dense_sizes() -> None:
    tokens = get_schedule("1.0", "1M").tokens
    depth = 32
    layout = CacheLayout.plan([[n] * depth for n in tokens])
    before_last = sum(tokens[:-1]) * depth
    assert layout.size == before_last + tokens[-1]
    assert layout.size < 0.63 * sum(tokens) * depth


def test_bytes_and_views() -> None:
    layout = CacheLayout.plan([[4, 4], [9, 9]])
    cache = KVCache(layout, 2, 3, 8, torch.bfloat16, torch.device("cpu"))
    assert cache.nbytes == 2 * layout.size * 2 * 3 * 8 * 2
    k, _ = cache.visible(1, 0)
    assert k.shape == (2, 3, 13, 8)
    assert k.data_ptr() >= cache.keys.data_ptr() and k.stride(-1) == 1  # a view, no copy


def test_nothing_to_lay_out() -> None:
    with pytest.raises(ValueError, match="at least one scale"):
        CacheLayout.plan([])

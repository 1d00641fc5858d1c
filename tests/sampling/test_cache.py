from __future__ import annotations

import random

import pytest
import torch

from toprovar.sampling.cache import CacheLayout, KVCache, RerunCache
from toprovar.schedules import get_schedule


def simulate(counts: list[list[int]], revised_after: int | None = None) -> None:
    """Write a distinct number for every key, and at each (scale, layer) read what is visible."""
    known = len(counts) if revised_after is None else revised_after + 1
    layout = CacheLayout.plan(counts[:known], final=known == len(counts))
    cache = KVCache(layout, 2, 1, 1, torch.float32, torch.device("cpu"))
    expected: list[list[float]] = [[] for _ in counts[0]]
    number = 0
    for scale, row in enumerate(counts):
        if scale == known:
            cache = cache.relaid(CacheLayout.plan(counts), range(2))
        if scale and not any(any(later) for later in counts[scale:]):
            break  # not run: nothing is read any more
        for layer, count in enumerate(row):
            new = [float(number + i) for i in range(count)]
            number += count
            expected[layer] += new
            keys, values = cache.new(layer, count, 2)
            assert keys.shape == (2, count, 1, 1)
            keys[0, :, 0, 0] = torch.tensor(new)
            keys[1, :, 0, 0] = -torch.tensor(new)
            values.copy_(keys * 2)
            k, v = cache.visible(layer, 2)
            assert k[0, 0, :, 0].tolist() == expected[layer]
            assert v[1, 0, :, 0].tolist() == [-2 * e for e in expected[layer]]


@pytest.mark.parametrize("seed", range(30))
def test_visible_keys_are_all_keys_so_far(seed: int) -> None:
    """Also at the last scale, whose keys lie over those of layers that are done."""
    draw = random.Random(seed)
    scales, layers = draw.randint(1, 5), draw.randint(1, 6)
    top = draw.choice([3, 12])
    counts = [[draw.randint(0, top) for _ in range(layers)] for _ in range(scales)]
    simulate(counts)
    simulate([*counts, [0] * layers])  # the last scales may be left out
    simulate(counts, revised_after=draw.randrange(scales))


def test_laid_out_anew_for_fewer_rows() -> None:
    cache = KVCache(CacheLayout.plan([[2, 3]], final=False), 2, 1, 4, torch.float32,
                    torch.device("cpu"))
    for layer, count in enumerate((2, 3)):
        for tensor in cache.new(layer, count, 2):
            tensor.normal_()
    half = cache.relaid(CacheLayout.plan([[2, 3], [5, 5]]), range(1))
    assert half.keys.shape[0] == 1
    for layer in range(2):
        for mine, theirs in zip(cache.visible(layer, 1), half.visible(layer, 1), strict=True):
            assert torch.equal(mine, theirs)


def test_more_keys_than_planned() -> None:
    cache = KVCache(CacheLayout.plan([[2]], final=False), 1, 1, 4, torch.float32,
                    torch.device("cpu"))
    with pytest.raises(ValueError, match="do not fit the cache"):
        cache.new(0, 3, 1)


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
    cache.new(0, 4, 2)
    cache.new(0, 9, 2)
    k, _ = cache.visible(0, 2)
    assert k.shape == (2, 3, 13, 8)
    assert k.data_ptr() >= cache.keys.data_ptr() and k.stride(-1) == 1  # a view, no copy


def test_nothing_to_lay_out() -> None:
    with pytest.raises(ValueError, match="at least one scale"):
        CacheLayout.plan([])


@pytest.mark.parametrize("seed", range(20))
def test_scales_that_are_run_again_find_the_keys_of_earlier_ones(seed: int) -> None:
    """Forward scale by scale, and back to any of them, with fewer keys than were laid out for."""
    draw = random.Random(seed)
    scales, layers = draw.randint(2, 5), draw.randint(1, 5)
    most = [[draw.randint(1, 9)] * layers for _ in range(scales)]
    cache = RerunCache(most, 2, 1, 1, torch.float32, torch.device("cpu"))
    known: list[list[list[float]]] = [[[] for _ in range(layers)]]
    number, scale = 0, 0
    for _ in range(40):
        cache.lengths[:] = [len(k) for k in known[scale]]
        after = [list(k) for k in known[scale]]
        for layer in range(layers):
            count = draw.choice([0, most[scale][layer], draw.randint(0, most[scale][layer])])
            new = [float(number + i) for i in range(count)]
            number += count
            keys, values = cache.new(layer, count, 2)
            keys[0, :, 0, 0], keys[1, :, 0, 0] = torch.tensor(new), -torch.tensor(new)
            values.copy_(keys * 2)
            after[layer] += new
            k, v = cache.visible(layer, 2)
            assert k[0, 0, :, 0].tolist() == after[layer]
            assert v[1, 0, :, 0].tolist() == [-2 * e for e in after[layer]]
        known[scale + 1 :] = [after]
        scale = draw.randint(0, min(scale + 1, scales - 1))
    with pytest.raises(ValueError, match="do not fit"):
        cache.new(0, sum(row[0] for row in most) + 1, 2)


def test_running_scales_again_takes_little_more_room() -> None:
    for pn, layers in (("0.06M", 10), ("1M", 32), ("1M", 40)):
        counts = [(n,) * layers for n in get_schedule("1.0", pn).tokens]
        about = (1, 1, 1, torch.float32, torch.device("meta"))
        alone = CacheLayout.plan(counts).size
        assert RerunCache(counts, *about).layout.size < 1.1 * alone
        assert CacheLayout.plan(counts, final=False).size > 1.5 * alone

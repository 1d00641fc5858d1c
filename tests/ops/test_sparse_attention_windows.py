"""Which keys a window holds, and the lists made of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from toprovar.ops.sparse_attention import (
    Window,
    padded_share,
    seen_share,
    visible_keys,
    window_blocks,
)
from toprovar.ops.sparse_attention.blocks import BLOCK, SHIFT, WIDEST, Block, key_blocks
from toprovar.ops.windows import Grids, tile_queries
from toprovar.schedules import get_schedule

ODD = ((1, 1), (3, 5), (7, 13), (9, 16))
GRIDS = [ODD, ODD[:3], ODD[:1], ((2, 2), (16, 16)), ((5, 1), (1, 19)), ((40, 3), (8, 9), (17, 5)),
         ((2, 300), (3, 290)),
         get_schedule("0.571", "1M").grids]
WINDOWS = [Window(0, 0), Window(0, 1), Window(1, 2), Window(3, 5), Window(9, 0), Window(0, 99)]
cases = pytest.mark.parametrize("grids", GRIDS, ids=lambda grids: str(grids[-1]))
windows = pytest.mark.parametrize("window", WINDOWS, ids=str)


def test_a_case_worked_by_hand() -> None:
    """Tiles: columns 0 to 8 and 8 to 12 of 12, all four rows."""
    grids, window = ((1, 1), (2, 3), (4, 12)), Window(sinks=1, radius=1)
    left, right = visible_keys(grids, window)
    assert left[:7].all()  # 0 to ceil(8 * 3 / 12) + 1 = 3 of 3 columns
    assert right[:7].tolist() == [True, False, True, True, False, True, True]  # from 2 - 1 on
    assert (left[7:].reshape(4, 12) == (np.arange(12) < 8 + 1)).all()
    assert (right[7:].reshape(4, 12) == (np.arange(12) >= 8 - 1)).all()
    assert seen_share(grids, window) == (32 * 43 + 16 * 25) / (48 * 55)
    # The first two scales lie one after the other and are seen whole: seven keys in a row.
    assert key_blocks(grids, window)[0] == (
        Block(7, 36, 3, 0, 65536 // 9 + 1), Block(0, 7, 0, 0, 0))


@cases
@windows
def test_share_is_the_mean_of_the_mask(grids: Grids, window: Window) -> None:
    seen = visible_keys(grids, window)
    tiles = tile_queries(grids[-1])
    assert sorted(np.concatenate(tiles)) == list(range(grids[-1][0] * grids[-1][1]))
    pairs = sum(len(queries) * int(mask.sum()) for queries, mask in zip(tiles, seen, strict=True))
    share = seen_share(grids, window)
    assert share == pairs / (grids[-1][0] * grids[-1][1] * seen.shape[1])
    assert 0 < share <= 1 and share <= padded_share(grids, window)


@cases
@windows
def test_blocks_hold_each_visible_key_once(grids: Grids, window: Window) -> None:
    blocks = window_blocks(grids, window, "cpu")
    table, counts = blocks.table.numpy(), blocks.counts.numpy()
    assert table.dtype == counts.dtype == np.int32 and table.shape[1] == counts.max()
    for tile, mask in enumerate(visible_keys(grids, window)):
        held = np.zeros(len(mask), dtype=int)
        for first, keys, gap, offset, inverse in table[tile, : counts[tile]].tolist():
            assert 1 <= keys <= BLOCK
            i = np.arange(keys)
            held[first + i + ((offset + i) * inverse >> SHIFT) * gap] += 1
        assert (held == mask).all()


@cases
@windows
def test_groups_are_the_mask_without_padding(grids: Grids, window: Window) -> None:
    blocks = window_blocks(grids, window, "cpu")
    seen = visible_keys(grids, window)
    tiles = {int(queries[0]): (queries, mask)
             for queries, mask in zip(tile_queries(grids[-1]), seen, strict=True)}
    for group in blocks.groups:
        for queries, keys in zip(group.queries, group.keys, strict=True):
            own, mask = tiles.pop(int(queries[0]))
            assert queries.tolist() == own.tolist() and keys.tolist() == mask.nonzero()[0].tolist()
    assert not tiles


def test_division_by_the_inverse_is_exact() -> None:
    for columns in range(1, WIDEST + 1):
        n = np.arange(columns + BLOCK)
        assert (n * ((1 << SHIFT) // columns + 1) >> SHIFT == n // columns).all()


@cases
def test_everything_is_one_run(grids: Grids) -> None:
    for window in (Window(0, 999), Window(99, 0)):
        assert visible_keys(grids, window).all() and seen_share(grids, window) == 1
        blocks = window_blocks(grids, window, "cpu")
        assert (blocks.counts == -(-blocks.keys // BLOCK)).all()


def test_windows_as_wide_as_their_grid_go_on_with_the_next_scale() -> None:
    """The highest tile sees 70 keys, then the second scale and ten rows as one run of 84; the
    lowest one 70 with the second scale, then 80."""
    grids, window = ((48, 5), (2, 2), (32, 8)), Window(0, 2)
    assert key_blocks(grids, window)[3][0] == Block(34 * 5, BLOCK, 0, 0, 0)
    assert [len(blocks) for blocks in key_blocks(grids, window)] == [4, 5, 5, 4]


def test_far_less_is_seen_of_the_last_scale() -> None:
    grids = get_schedule("1.0", "1M").grids
    assert 0.22 < seen_share(grids, Window(6, 8)) < padded_share(grids, Window(6, 8)) < 0.26


@pytest.mark.parametrize("sinks, radius", [(-1, 0), (0, -1)])
def test_bad_windows_are_named(sinks: int, radius: int) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        Window(sinks, radius)


@pytest.mark.parametrize("grids", [(), ((1, 1), (0, 3))])
def test_bad_grids_are_named(grids: Grids) -> None:
    window = Window(0, 0)
    for call in (lambda: visible_keys(grids, window), lambda: seen_share(grids, window),
                 lambda: window_blocks(grids, window, torch.device("cpu"))):
        with pytest.raises(ValueError, match="grids must be"):
            call()

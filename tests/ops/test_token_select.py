from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ops.lanes import KERNEL_LANES, LANES, Lane
from toprovar.ops.token_select import (
    LayerCounts,
    feasible_minimum,
    reference,
    select_in_layers,
    select_tokens,
    tokens_required,
)

SCORES = st.sampled_from([0.0, -0.0, 1.0, -2.5, 3.0, 1e-40, math.inf, -math.inf, math.nan])


@st.composite
def selections(draw: st.DrawFn) -> tuple[list[float], tuple[int, int], int, int, int]:
    grid = (draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    total = grid[0] * grid[1]
    scores = draw(st.lists(SCORES, min_size=total, max_size=total))
    count, region = draw(st.integers(0, total)), draw(st.integers(1, 8))
    minimum = draw(st.integers(0, feasible_minimum(grid, count, region)))
    return scores, grid, count, region, minimum


@settings(max_examples=150, deadline=None)
@given(selections())
def test_torch_path_against_reference(case: tuple) -> None:
    scores, grid, count, region, minimum = case
    found = select_tokens(torch.tensor(scores), grid, count, region=region, min_per_region=minimum)
    assert found.dtype == torch.int64
    assert found.tolist() == reference.select_tokens(scores, grid, count, region, minimum)


@pytest.mark.parametrize("lane", KERNEL_LANES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("grid", "count", "region", "minimum"),
    [((1, 1), 0, 0, 0), ((3, 5), 7, 0, 0), ((7, 9), 30, 3, 2), ((7, 9), 18, 4, 3),
     ((6, 4), 23, 5, 1), ((9, 2), 9, 16, 9), ((4, 4), 16, 2, 4), ((5, 5), 25, 0, 0)],
)
def test_kernel_gives_the_same_tokens(
    lane: Lane, dtype: torch.dtype, grid: tuple[int, int], count: int, region: int, minimum: int
) -> None:
    total = grid[0] * grid[1]
    scores = (torch.randn(3, total) * 2).round().div(2).to(dtype)  # many ties
    scores[1, ::4], scores[2, 1::3], scores[2, ::5] = math.nan, -math.inf, math.inf
    found = select_tokens(scores.to(lane.device), grid, count, region=region,
                          min_per_region=minimum, backend=lane.backend)
    expected = [reference.select_tokens(row, grid, count, region, minimum)
                for row in scores.float().tolist()]
    assert found.tolist() == expected


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize(("region", "minimum"), [(0, 0), (3, 1)])
@pytest.mark.parametrize("counts", [[12, 30, 12, 63, 17], [20]], ids=str)
def test_layers_at_once(lane: Lane, region: int, minimum: int, counts: list[int]) -> None:
    grid = (7, 9)
    # In a buffer for the largest grid; many ties
    room = (torch.randn(len(counts), 2, 80, device=lane.device) * 2).round()
    room[..., ::7] = math.nan
    scores = room[..., :63]
    found = select_in_layers(scores, grid, LayerCounts.of(counts, lane.device), region=region,
                             min_per_region=minimum, backend=lane.backend)
    for layer, count in enumerate(counts):
        assert found[layer].dtype == torch.int64
        assert found[layer].tolist() == [
            reference.select_tokens(row, grid, count, region, minimum)
            for row in scores[layer].tolist()
        ]


@pytest.mark.parametrize("lane", LANES)
def test_layers_that_keep_nothing(lane: Lane) -> None:
    scores = torch.rand(3, 1, 12, device=lane.device)
    for counts in ([0, 4, 0], [0, 0, 0]):
        found = select_in_layers(scores, (3, 4), LayerCounts.of(counts, lane.device),
                                 backend=lane.backend)
        assert [tuple(part.shape) for part in found] == [(1, count) for count in counts]
    assert select_in_layers(scores[:0], (3, 4), LayerCounts.of([], lane.device)) == []


def test_layers_that_do_not_fit() -> None:
    scores = torch.rand(3, 1, 12)
    with pytest.raises(ValueError, match="of the 2 layers that have counts"):
        select_in_layers(scores, (3, 4), LayerCounts.of([1, 2], "cpu"))
    with pytest.raises(ValueError, match="count is 13, expected 0 to 12"):
        select_in_layers(scores, (3, 4), LayerCounts.of([1, 2, 13], "cpu"))
    with pytest.raises(ValueError, match=r"counts on meta: make them by LayerCounts\.of"):
        select_in_layers(scores, (3, 4), LayerCounts.of([1, 2, 3], "meta"))


@pytest.mark.parametrize("lane", LANES)
def test_one_row_and_strided_rows(lane: Lane) -> None:
    scores = torch.randn(2, 40, device=lane.device)[:, :30]
    both = select_tokens(scores, (5, 6), 11, region=3, min_per_region=1, backend=lane.backend)
    assert both.shape == (2, 11)
    one = select_tokens(scores[1], (5, 6), 11, region=3, min_per_region=1, backend=lane.backend)
    assert torch.equal(one, both[1])


@pytest.mark.parametrize("grid", [(6, 6), (7, 5), (64, 64)])
def test_every_region_gets_its_minimum(grid: tuple[int, int]) -> None:
    region = 4
    scores = torch.arange(grid[0] * grid[1]).float()  # all the best lie at the bottom
    minimum = feasible_minimum(grid, grid[0] * grid[1] // 3, region)
    assert minimum >= 2
    found = select_tokens(scores, grid, grid[0] * grid[1] // 3, region=region,
                          min_per_region=minimum)
    kept = torch.zeros(grid).flatten().index_fill(0, found, 1).unflatten(0, grid)
    for y in range(0, grid[0], region):
        for x in range(0, grid[1], region):
            tile = kept[y : y + region, x : x + region]
            assert tile.sum() >= min(minimum, tile.numel())
    assert kept.sum() == grid[0] * grid[1] // 3


def test_what_a_minimum_costs() -> None:
    assert tokens_required((7, 9), 4, 3) == 3 + 3 + 3 + 3 + 3 + 3  # 2 x 3 regions, the least 3 x 1
    assert tokens_required((7, 9), 4, 5) == 5 + 5 + 4 + 5 + 5 + 3
    assert tokens_required((7, 9), 0, 5) == tokens_required((7, 9), 4, 0) == 0
    assert feasible_minimum((7, 9), 27, 4) == 5
    assert feasible_minimum((7, 9), 5, 4) == 0
    assert feasible_minimum((4, 4), 16, 2) == 4


def test_what_does_not_fit_is_said() -> None:
    scores = torch.randn(63)
    with pytest.raises(ValueError, match="27, but only 20 are kept: set min_per_region to at most "
                                         "3"):
        select_tokens(scores, (7, 9), 20, region=4, min_per_region=5)
    with pytest.raises(ValueError, match="63 scores given for a grid of 8 x 8"):
        select_tokens(scores, (8, 8), 20)
    with pytest.raises(ValueError, match="count is 64, expected 0 to 63"):
        select_tokens(scores, (7, 9), 64)
    with pytest.raises(ValueError, match="region >= 1 where there is a minimum"):
        select_tokens(scores, (7, 9), 20, min_per_region=1)


def test_input_is_left_alone() -> None:
    scores = torch.tensor([1.0, math.nan, 2.0, 0.0])
    kept = scores.clone()
    assert select_tokens(scores, (2, 2), 2).tolist() == [0, 2]
    torch.testing.assert_close(scores, kept, equal_nan=True)

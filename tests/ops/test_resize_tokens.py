from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.ops.lanes import LANES, TOLERANCE, Lane
from toprovar.ops.resize_tokens import MODES, reference, resize_map, resize_tokens

GRIDS = [((1, 1), (2, 3)), ((3, 4), (5, 7)), ((4, 4), (4, 4)), ((2, 5), (6, 5)), ((3, 2), (6, 4))]


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize(("grid", "new"), GRIDS)
def test_against_reference(
    lane: Lane, mode: str, dtype: torch.dtype, grid: tuple[int, int], new: tuple[int, int]
) -> None:
    # Rows of a longer buffer: strides that are not those of a dense tensor
    x = torch.randn(2, grid[0] * grid[1] + 3, 11, device=lane.device).to(dtype)[:, 2:-1]
    found = resize_tokens(x, grid, new, mode, backend=lane.backend)
    expected = reference.resize_tokens(x.cpu(), grid, new, mode)
    assert found.dtype == dtype and found.is_contiguous()
    torch.testing.assert_close(found.cpu().double(), expected, atol=TOLERANCE[dtype],
                               rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("mode", MODES)
def test_smaller_grids(mode: str) -> None:
    x = torch.randn(1, 35, 3)
    found = resize_tokens(x, (7, 5), (3, 4), mode)
    torch.testing.assert_close(found.double(), reference.resize_tokens(x, (7, 5), (3, 4), mode),
                               atol=1e-5, rtol=1e-5)


def test_the_modes_are_those_of_torch() -> None:
    x = torch.randn(1, 5, 6, 8, dtype=torch.float64)
    tokens = x.flatten(2).transpose(1, 2)
    for mode, theirs in (
        ("area", F.adaptive_avg_pool2d(x, (9, 11))),
        ("area", F.interpolate(x, (9, 11), mode="area")),
        ("bilinear", F.interpolate(x, (9, 11), mode="bilinear", align_corners=False)),
        ("nearest", F.interpolate(x, (9, 11), mode="nearest-exact")),
    ):
        found = reference.resize_tokens(tokens, (6, 8), (9, 11), mode)
        torch.testing.assert_close(found, theirs.flatten(2).transpose(1, 2), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize(("grid", "new"), [*GRIDS, ((23, 5), (25, 29))])
def test_stacked_maps(
    lane: Lane, mode: str, dtype: torch.dtype, grid: tuple[int, int], new: tuple[int, int]
) -> None:
    # In a buffer for the largest grid
    room = torch.full((3, 2, 200), torch.nan, device=lane.device, dtype=dtype)
    maps = room[..., : grid[0] * grid[1]].unflatten(-1, grid)
    maps.copy_(torch.rand(maps.shape))
    found = resize_map(maps, new, mode, backend=lane.backend)
    tokens = maps.cpu().reshape(6, -1, 1)
    expected = reference.resize_tokens(tokens, grid, new, mode).reshape(3, 2, *new)
    assert found.dtype == dtype and found.is_contiguous()
    torch.testing.assert_close(found.cpu().double(), expected, atol=TOLERANCE[dtype],
                               rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("lane", LANES)
def test_maps_of_any_rank(lane: Lane) -> None:
    maps = torch.rand(2, 3, 4, 6, device=lane.device)
    found = resize_map(maps, (8, 9), backend=lane.backend)
    assert found.shape == (2, 3, 8, 9)
    torch.testing.assert_close(resize_map(maps[1, 2], (8, 9), backend=lane.backend), found[1, 2])
    torch.testing.assert_close(resize_map(torch.full((2, 2), 0.7), (5, 5)), torch.full((5, 5), 0.7))


def test_what_does_not_fit_is_said() -> None:
    x = torch.randn(1, 12, 4)
    with pytest.raises(ValueError, match="'cubic', expected one of nearest, bilinear, area"):
        resize_tokens(x, (3, 4), (6, 8), "cubic")
    with pytest.raises(ValueError, match=r"expected \[R, 15, C\] for a grid of 3 x 5"):
        resize_tokens(x, (3, 5), (6, 8))
    with pytest.raises(ValueError, match="expected sides >= 1"):
        resize_tokens(x, (3, 4), (0, 8))
    with pytest.raises(ValueError, match="area of a smaller grid"):
        resize_tokens(x, (3, 4), (2, 8), "area", backend="triton")

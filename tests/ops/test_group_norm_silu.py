from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.ops.lanes import LANES, TOLERANCE, Lane
from toprovar.ops import group_norm_silu as op
from toprovar.ops.group_norm_silu import Norm, reference, tiles


def picture(shape: tuple[int, ...], dtype: torch.dtype, device: str, mean: float = 0.0) -> Tensor:
    x = torch.randn(shape, device=device) * 2 + mean
    return x.to(dtype).contiguous(memory_format=torch.channels_last)


def norm_of(channels: int, groups: int, device: str) -> Norm:
    return Norm(torch.randn(channels, device=device) + 1, torch.randn(channels, device=device),
                groups)


def wanted(total: Tensor, norm: Norm) -> Tensor:
    return reference.silu(
        reference.group_norm(total, norm.weight, norm.bias, norm.groups)
    ).float()


SHAPES = [
    ((1, 32, 3, 5), 32), ((2, 48, 7, 9), 24), ((1, 64, 40, 33), 32), ((2, 40, 1, 1), 8),
]


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize(("shape", "groups"), SHAPES)
@pytest.mark.parametrize("offset", [False, True])
def test_norm_against_reference(
    lane: Lane, dtype: torch.dtype, shape: tuple[int, ...], groups: int, offset: bool
) -> None:
    x, norm = picture(shape, dtype, lane.device), norm_of(shape[1], groups, lane.device)
    add = torch.randn(shape[1], device=lane.device) if offset else None
    found = op.group_norm_silu(x, norm, add, backend=lane.backend)
    assert found.dtype == dtype and found.is_contiguous(memory_format=torch.channels_last)
    total = x.float() if add is None else x.float() + add[:, None, None]
    torch.testing.assert_close(found.float(), wanted(total, norm), atol=2 * TOLERANCE[dtype],
                               rtol=TOLERANCE[dtype])
    affine = op.norm_affine(x, norm, add, backend=lane.backend)
    given = x.clone(memory_format=torch.preserve_format)
    assert op.affine_silu(given, affine, in_place=True, backend=lane.backend) is given
    assert torch.equal(given, found)


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize(("shape", "groups"), SHAPES)
@pytest.mark.parametrize("residual", [False, True])
def test_sum_against_reference(
    lane: Lane, dtype: torch.dtype, shape: tuple[int, ...], groups: int, residual: bool
) -> None:
    x, norm = picture(shape, dtype, lane.device), norm_of(shape[1], groups, lane.device)
    add = torch.randn(shape[1], device=lane.device)
    other = picture(shape, dtype, lane.device) if residual else None
    total = x.float() + add[:, None, None] + (0 if other is None else other.float())
    given = x.clone(memory_format=torch.preserve_format)
    found, affine = op.sum_affine_(given, other, add, norm, backend=lane.backend)
    assert found.data_ptr() == given.data_ptr()
    torch.testing.assert_close(found.float(), total, atol=4 * TOLERANCE[dtype], rtol=0.01)
    # The norm is that of the sum as it was stored
    torch.testing.assert_close(
        op.affine_silu(found, affine, backend=lane.backend).float(), wanted(found, norm),
        atol=2 * TOLERANCE[dtype], rtol=TOLERANCE[dtype],
    )
    if other is not None:
        again = op.sum_channels_(x, other, add, backend=lane.backend)
        assert again.data_ptr() == x.data_ptr() and torch.equal(again, found)


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 4)])
@pytest.mark.parametrize("residual", [False, True])
def test_sum_of_phases(
    lane: Lane, dtype: torch.dtype, size: tuple[int, int], residual: bool
) -> None:
    channels, (height, width) = 32, size
    x = picture((2, 4 * channels, height + 1, width + 1), dtype, lane.device)
    norm = norm_of(channels, 8, lane.device)
    add = torch.randn(channels, device=lane.device)
    joined = op.join_phases(x)
    other = torch.randn_like(joined) if residual else None
    kept = x.clone(memory_format=torch.preserve_format)
    found, affine = op.sum_affine_(x, other, add, norm, phases=True, backend=lane.backend)
    assert torch.equal(x, kept)
    assert found.shape == (2, channels, 2 * height, 2 * width)
    total = joined.float() + add[:, None, None] + (0 if other is None else other.float())
    torch.testing.assert_close(found.float(), total, atol=4 * TOLERANCE[dtype], rtol=0.01)
    torch.testing.assert_close(
        op.affine_silu(found, affine, backend=lane.backend).float(), wanted(found, norm),
        atol=2 * TOLERANCE[dtype], rtol=TOLERANCE[dtype],
    )


@pytest.mark.parametrize("lane", LANES)
def test_a_large_mean_costs_no_accuracy(lane: Lane) -> None:
    x = picture((1, 32, 24, 24), torch.float32, lane.device, mean=3000.0)
    norm = norm_of(32, 4, lane.device)
    found = op.group_norm_silu(x, norm, backend=lane.backend)
    torch.testing.assert_close(found, wanted(x, norm), atol=5e-3, rtol=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4)])
def test_phases_are_the_upsampled_convolution(size: tuple[int, int]) -> None:
    x = torch.randn(2, 6, *size, dtype=torch.float64)
    weight = torch.randn(5, 6, 3, 3).double()
    plain = F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), weight, padding=1)
    phases = F.conv2d(x, op.phase_weight(weight).double(), padding=1)
    # Weights are summed in float32
    torch.testing.assert_close(op.join_phases(phases), plain, atol=1e-5, rtol=1e-5)


def test_tiles_cover_the_picture() -> None:
    for channels in (24, 128, 512):
        for pixels in (1, 15, 4096, 1 << 20):
            for cut in (tiles.Tiles.to_sum(channels, pixels),
                        tiles.Tiles.to_apply(channels, pixels)):
                reach = cut.of_chunk * cut.pixels
                assert (cut.chunks - 1) * reach < pixels <= cut.chunks * reach
                assert cut.block >= channels
            assert tiles.Tiles.to_sum(channels, pixels).chunks <= tiles.CHUNKS


def test_who_serves_and_what_is_refused() -> None:
    norm = norm_of(8, 4, "cpu")
    x = torch.randn(1, 8, 4, 4)
    with pytest.raises(ValueError, match="layout other than channels last"):
        op.group_norm_silu(x, norm, backend="triton")
    # Plain torch takes any layout
    torch.testing.assert_close(op.group_norm_silu(x, norm), wanted(x, norm), atol=2e-5, rtol=1e-5)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    assert op.group_norm_silu(x, norm).requires_grad
    with pytest.raises(ValueError, match="gradients"):
        op.group_norm_silu(x, norm, backend="triton")
    with pytest.raises(ValueError, match=r"expected \[B, 32, H, W\]"):
        op.sum_affine_(x.detach(), None, None, norm, phases=True)
    with pytest.raises(ValueError, match=r"expected \(1, 8, 4, 4\)"):
        op.sum_affine_(x.detach(), x.detach()[:, :4], None, norm)
    with pytest.raises(ValueError, match="multiple of the 3 groups"):
        norm_of(8, 3, "cpu")

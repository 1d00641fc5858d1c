from __future__ import annotations

import pytest
import torch

from tests.ops.fp8_cases import check_rounded
from tests.ops.lanes import FP8_LANES, LANES, TOLERANCE, Lane, some_index
from toprovar.ops import adaln
from toprovar.ops.adaln import reference
from toprovar.ops.registry import Call


@pytest.mark.parametrize("shape", [(1, 7, 24), (2, 5, 40), (4, 1, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_against_reference(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.randn(shape) * 3 + 1
    scale, shift, gate = torch.randn(3, shape[0], shape[2]).unbind(0)
    found = adaln.modulated_norm(x, 1 + scale, shift, dtype)
    assert found.dtype == dtype
    tolerance = 2e-6 if dtype == torch.float32 else 4e-2
    torch.testing.assert_close(
        found.float(), reference.modulated_norm(x, scale, shift), atol=tolerance, rtol=tolerance
    )
    update = torch.randn(shape).to(dtype)
    expected = reference.gated_add(x, update.float(), gate)
    given = x.clone()
    assert adaln.gated_add_(given, update, gate) is given
    torch.testing.assert_close(given, expected)
    torch.testing.assert_close(
        adaln.gated_add_(x.clone(), update, None), reference.gated_add(x, update.float(), None)
    )


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("residual", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("narrow", list(TOLERANCE))
@pytest.mark.parametrize("index_rows", ["none", "shared", "per row"])
@pytest.mark.parametrize("shape", [(1, 5, 24), (3, 6, 131)])
def test_all_forms_in_all_lanes(
    lane: Lane, residual: torch.dtype, narrow: torch.dtype, index_rows: str,
    shape: tuple[int, int, int],
) -> None:
    rows, tokens, channels = shape
    room = (torch.randn(rows, tokens + 2, channels, device=lane.device) * 3 + 1).to(residual)
    room[:, ::tokens + 1] = float("nan")  # must be neither read nor written
    x = room[:, 1:-1]
    scale, shift, gate = torch.randn(3, rows, channels, device=lane.device).unbind(0)
    index, count = None, tokens
    if index_rows != "none":
        count = tokens // 2 + 1
        index = some_index(rows if index_rows == "per row" else None, tokens, count, lane.device)
    update = torch.randn(rows, count + 1, channels, device=lane.device).to(narrow)[:, 1:]
    tolerance = max(TOLERANCE[residual], 2 * TOLERANCE[narrow])

    found = adaln.modulated_norm(x, 1 + scale, shift, narrow, index, backend=lane.backend)
    assert found.dtype == narrow and found.is_contiguous()
    torch.testing.assert_close(
        found.float(), reference.modulated_norm(x, scale, shift, index), atol=tolerance,
        rtol=tolerance,
    )
    expected = reference.gated_add(x.float(), update.float(), gate, index)
    copy = room.clone()
    given = copy[:, 1:-1]
    assert adaln.gated_add_(given, update, gate, index, backend=lane.backend) is given
    torch.testing.assert_close(given.float(), expected, atol=4 * TOLERANCE[residual], rtol=0.01)
    assert copy[:, ::tokens + 1].isnan().all()

    # Both in one, with a gain for all rows and no gate
    given = room.clone()[:, 1:-1]
    found = adaln.gated_add_norm(given, update, None, 1 + scale[0], shift[0], narrow, index,
                                 backend=lane.backend)
    expected = reference.gated_add(x.float(), update.float(), None, index)
    torch.testing.assert_close(given.float(), expected, atol=4 * TOLERANCE[residual], rtol=0.01)
    torch.testing.assert_close(
        found.float(), reference.modulated_norm(given, scale[0], shift[0], index), atol=tolerance,
        rtol=tolerance,
    )


@pytest.mark.parametrize("lane", FP8_LANES)
@pytest.mark.parametrize("residual", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("shape", [(1, 5, 24), (3, 6, 131)])
def test_rounded_to_8_bit_rows(
    lane: Lane, residual: torch.dtype, indexed: bool, shape: tuple[int, int, int]
) -> None:
    rows, tokens, channels = shape
    x = (torch.randn(shape, device=lane.device) * 3 + 1).to(residual)
    gain, shift, gate = torch.randn(3, rows, channels, device=lane.device).unbind(0)
    index = some_index(rows, tokens, tokens // 2, lane.device) if indexed else None
    count = tokens // 2 if indexed else tokens
    update = torch.randn(rows, count, channels, device=lane.device).bfloat16()

    plain = adaln.modulated_norm(x, gain, shift, torch.float32, index, backend=lane.backend)
    check_rounded(adaln.modulated_norm_fp8(x, gain, shift, index, backend=lane.backend),
                  plain.cpu().double())
    other = x.clone()
    plain = adaln.gated_add_norm(x, update, gate, gain, shift, torch.float32, index,
                                 backend=lane.backend)
    check_rounded(adaln.gated_add_norm_fp8(other, update, gate, gain, shift, index,
                                           backend=lane.backend), plain.cpu().double())
    assert torch.equal(x, other)


def test_fused_torch_path_has_the_bits_of_the_separate_one() -> None:
    x, update = torch.randn(2, 2, 9, 40).unbind(0)
    gate, gain, shift = torch.randn(3, 2, 40).unbind(0)
    other = x.clone()
    found = adaln.gated_add_norm(x, update, gate, gain, shift, torch.float32)
    adaln.gated_add_(other, update, gate)
    assert torch.equal(x, other)
    assert torch.equal(found, adaln.modulated_norm(other, gain, shift, torch.float32))


def test_who_serves() -> None:
    x = torch.randn(1, 4, 8)
    explained = adaln.MODULATED_NORM.explain(Call(x.device, x.dtype, 8))
    assert explained["torch"] == "chosen"
    with pytest.raises(ValueError, match=r"expected int64 of shape \[n\] or \[1, n\]"):
        adaln.gated_add_(x, x, None, torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="strided channels"):
        adaln.modulated_norm(x.transpose(1, 2), x[:, 0, :4], x[:, 0, :4], x.dtype, backend="triton")
    x.requires_grad_()
    y = adaln.modulated_norm(x, torch.ones(1, 8), torch.zeros(1, 8), x.dtype)
    assert y.requires_grad
    with pytest.raises(ValueError, match="gradients"):
        adaln.modulated_norm(x, x[:, 0], x[:, 0], x.dtype, backend="triton")

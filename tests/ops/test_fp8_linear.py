"""Products of 8-bit numbers: rounding against its definition, and what it costs in quality."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.ops.fp8_cases import check_rounded
from tests.ops.lanes import FP8_LANES, GPU_ONLY, Lane
from toprovar.ops import fp8_linear as ops
from toprovar.ops.fp8 import E4M3
from toprovar.ops.fp8_linear import Fp8Weight, fp8_linear, gelu_quantize, quantize_rows, reference

ALL_VALUES = torch.arange(256, dtype=torch.uint8).view(E4M3).float()


def test_the_definition_knows_every_number() -> None:
    numbers = ALL_VALUES[~ALL_VALUES.isnan()].unique()
    assert torch.equal(reference.round_e4m3(numbers).float(), numbers)
    between = (numbers[1:] + numbers[:-1]) / 2
    around = torch.cat([numbers, between, between * 1.001, between * 0.999, numbers * 1.001])
    by_torch = around.clamp(-448, 448).to(E4M3).float()
    assert torch.equal(reference.round_e4m3(around).float(), by_torch)


@pytest.mark.parametrize("lane", FP8_LANES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1, 16), (2, 3, 131), (5, 2048)])
@pytest.mark.parametrize(("op", "exactly"), [
    (quantize_rows, lambda x: x), (gelu_quantize, lambda x: F.gelu(x, approximate="tanh")),
], ids=["plain", "gelu"])
def test_rounded_rows(
    lane: Lane, dtype: torch.dtype, shape: tuple[int, ...],
    op: Callable[..., tuple[Tensor, Tensor]], exactly: Callable[[Tensor], Tensor],
) -> None:
    room = torch.randn(*shape[:-1], shape[-1] + 16, device=lane.device) * 4
    room[..., 7] *= 30
    x = room.to(dtype)[..., : shape[-1]]
    check_rounded(op(x, backend=lane.backend), exactly(x.cpu().double()),
                  slack=0.02 if op is gelu_quantize else 1e-4)  # 1 + tanh cancels


@pytest.mark.parametrize("lane", FP8_LANES)
def test_rows_of_zeros_and_of_every_number(lane: Lane) -> None:
    zeros = torch.zeros(2, 40, device=lane.device)
    for op in (quantize_rows, gelu_quantize):
        data, scale = op(zeros, backend=lane.backend)
        assert (data.float() == 0).all() and scale.isfinite().all() and (scale > 0).all()
    numbers = ALL_VALUES[~ALL_VALUES.isnan()].to(lane.device)[None]
    data, scale = quantize_rows(numbers, backend=lane.backend)
    assert torch.equal(data.float(), numbers) and (scale == 1).all()


def test_what_it_costs() -> None:
    """The README's figures: rounding is relative to each number, so that a channel of outliers
    takes nothing from the others until it is 10,000 times as large."""
    g = torch.Generator().manual_seed(0)
    x, weight = torch.randn(256, 2048, generator=g), torch.randn(512, 2048, generator=g)

    def error(x: Tensor, weight: Tensor) -> float:
        found = fp8_linear(*quantize_rows(x), Fp8Weight.of(weight), None, torch.float32)
        exact = x.double() @ weight.double().T
        return float((found - exact).norm() / exact.norm())

    assert 0.035 < error(x, weight) < 0.039
    exact = x.double() @ weight.double().T
    bfloat16 = (x.bfloat16() @ weight.bfloat16().T - exact).norm() / exact.norm()
    assert 0.002 < bfloat16 < 0.004
    weight[:, 5] = 0  # what is left is the error that outliers bring to the others
    for factor, most in ((100, 0.039), (10_000, 0.04), (100_000, 0.14)):
        outliers = x.clone()
        outliers[:, 5] *= factor
        assert 0.035 < error(outliers, weight) < most
    assert error(outliers, weight) > 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("biased", [True, False])
def test_product_against_reference(dtype: torch.dtype, biased: bool) -> None:
    x, weight = torch.randn(2, 5, 48), torch.randn(32, 48)
    bias = torch.randn(32).to(dtype) if biased else None
    found = fp8_linear(*quantize_rows(x), Fp8Weight.of(weight), bias, dtype)
    assert found.dtype == dtype and found.shape == (2, 5, 32)
    tolerance = 1e-4 if dtype == torch.float32 else 0.02
    torch.testing.assert_close(found.double(), reference.fp8_linear(x, weight, bias),
                               atol=5 * tolerance, rtol=tolerance)


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=GPU_ONLY)])
@pytest.mark.parametrize("tokens", [1, 7, 100, 8192])
@pytest.mark.parametrize(("rows", "channels"), [(6144, 2048), (2048, 8192), (3584, 3584)])
def test_product_on_a_gpu(device: str, tokens: int, rows: int, channels: int) -> None:
    reason = ops.why_no_fp8(torch.device(device))
    if reason is not None:
        pytest.skip(reason)
    x = torch.randn(tokens, channels, device=device).bfloat16()
    weight = Fp8Weight.of(torch.randn(rows, channels, device=device).bfloat16() / channels**0.5)
    bias = torch.randn(rows, device=device).bfloat16()
    given = quantize_rows(x)
    found, wanted = (fp8_linear(*given, weight, bias, backend=backend).float()
                     for backend in ("scaled_mm", "torch"))
    torch.testing.assert_close(found, wanted, atol=0.03, rtol=0.02)


def test_what_does_not_fit_is_said() -> None:
    weight = Fp8Weight.of(torch.randn(24, 32))
    assert weight.nbytes == 24 * 32 + 4 * 24
    x, scale = quantize_rows(torch.randn(3, 32))
    with pytest.raises(ValueError, match=r"expected x \[..., 32\].*found \[3, 16\]"):
        fp8_linear(x[:, :16], scale, weight)
    with pytest.raises(ValueError, match=r"found torch\.float32 and torch\.float32: use quan"):
        fp8_linear(x.float(), scale, weight)
    with pytest.raises(ValueError, match=r"expected a bias \[24\] of torch.bfloat16"):
        fp8_linear(x, scale, weight, torch.zeros(24))
    with pytest.raises(ValueError, match="scaled_mm needs a cuda device"):
        fp8_linear(x, scale, weight, backend="scaled_mm")
    assert "needs a cuda device" in (ops.why_no_fp8(torch.device("cpu")) or "")

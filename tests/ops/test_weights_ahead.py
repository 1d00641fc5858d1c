# Triton's types are those of its compiler.
# pyright: reportInvalidTypeForm=false

from __future__ import annotations

import pytest
import torch

from tests.ops.lanes import KERNEL_LANES, Lane
from toprovar.ops.weights_ahead import weights_ahead

triton = pytest.importorskip("triton", reason="triton is not installed")
tl = pytest.importorskip("triton.language")
compiled = pytest.importorskip("toprovar.ops.weights_ahead.triton")
LINES, kernels, lines_of = compiled.LINES, compiled.kernels, compiled.lines_of


@triton.jit
def write_lines(weight, places, lines, elements: tl.constexpr, each: tl.constexpr):
    place = lines_of(weight, lines, elements, each).to(tl.int64) - weight.to(tl.int64)
    tl.store(places + tl.program_id(0) * each + tl.arange(0, each), place)


@pytest.mark.parametrize("lane", KERNEL_LANES)
@pytest.mark.parametrize("count", [1, 31, 64, 65, 64 * LINES, 64 * LINES + 1, 200_000])
def test_every_line_is_asked_for_and_nothing_beyond(lane: Lane, count: int) -> None:
    """By the bytes at which the kernel's lines begin; a weight of 16-bit numbers."""
    weight = torch.zeros(count, dtype=torch.bfloat16, device=lane.device)
    lines = -(-count // 64)
    programs = -(-lines // LINES)
    places = torch.full((programs * LINES,), -1, dtype=torch.int64, device=lane.device)
    write_lines[(programs,)](weight, places, lines, elements=64, each=LINES)
    assert places.unique().tolist() == list(range(0, 128 * lines, 128))
    assert int(places.max()) < 2 * count


def test_devices_without_it_do_nothing() -> None:
    weight = torch.arange(12.0).view(3, 4)
    assert weights_ahead(weight) is None and weights_ahead(weight[:0]) is None
    assert weight.flatten().tolist() == list(range(12))
    with pytest.raises(ValueError, match=r"contiguous weights, found strides \(1, 4\)"):
        weights_ahead(weight.T)
    assert {kernel.label for kernel in kernels(89)} == {"bf16", "fp16", "fp32", "fp8e4nv"}
    assert "fp8e4nv" not in {kernel.label for kernel in kernels(80)}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.gpu
def test_on_a_gpu_it_changes_nothing(dtype: torch.dtype) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    weight = torch.randn(300, 1000, device="cuda").to(dtype)
    before = weight.clone()
    weights_ahead(weight, backend="triton")
    torch.cuda.synchronize()
    assert torch.equal(weight, before)

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.ops.lanes import KERNEL_LANES, Lane
from toprovar.ops import linear_gelu as op
from toprovar.ops.linear_gelu import reference


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1, 1, 8), (2, 33, 24)])
def test_against_reference(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    x = torch.randn(shape) * 3
    weight, bias = torch.randn(40, shape[-1]), torch.randn(40)
    expected = reference.linear_gelu(*(t.to(dtype).double() for t in (x, weight, bias)))
    found = op.linear_gelu(x.to(dtype), weight.to(dtype), bias.to(dtype))
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}[dtype]
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=tolerance)


def test_both_paths_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, bias = torch.randn(5, 16), torch.randn(24, 16), torch.randn(24)
    fused = op.linear_gelu(x, weight, bias)
    monkeypatch.setattr(op, "why_not_fused", lambda: "for the test")
    torch.testing.assert_close(op.linear_gelu(x, weight, bias), fused, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_an_epilogue_is_used_only_if_it_means_tanh(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = torch.device("cpu")
    for kind, accepted in (("tanh", True), ("none", False)):
        monkeypatch.setattr(op, "_EPILOGUES", {})
        monkeypatch.setattr(op, "_epilogue", lambda x, w, b, kind=kind: F.gelu(
            F.linear(x.float(), w.float(), b.float()), approximate=kind).to(x.dtype))
        assert (op.why_no_epilogue(device, dtype) is None) == accepted
    # Values that are neither
    monkeypatch.setattr(op, "_EPILOGUES", {})
    monkeypatch.setattr(op, "_epilogue", lambda x, w, b: F.relu(F.linear(x, w, b)))
    assert op.why_no_epilogue(device, dtype) == "torch's fused product gives other values"


def test_the_epilogue_has_the_shape_and_place_of_a_linear_layer() -> None:
    # torch's CPU form of the call applies GELU proper, otherwise it is the one CUDA has
    x, weight, bias = torch.randn(2, 5, 16), torch.randn(24, 16), torch.randn(24)
    found = op._epilogue(x, weight, bias)
    torch.testing.assert_close(found, F.gelu(F.linear(x, weight, bias)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("lane", [p for p in KERNEL_LANES if p.id == "gpu"])
def test_on_a_gpu(lane: Lane, dtype: torch.dtype) -> None:
    x, weight = torch.randn(2, 300, 256).to(dtype), (torch.randn(1024, 256) / 16).to(dtype)
    bias = torch.randn(1024).to(dtype)
    found = op.linear_gelu(*(t.to(lane.device) for t in (x, weight, bias)))
    expected = reference.linear_gelu(x.double(), weight.double(), bias.double())
    torch.testing.assert_close(found.cpu().double(), expected, atol=2e-2, rtol=2e-2)

from __future__ import annotations

import pytest
import torch

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

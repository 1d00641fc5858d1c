from __future__ import annotations

import pytest
import torch

from toprovar.ops import adaln
from toprovar.ops.adaln import reference


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

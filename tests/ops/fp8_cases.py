"""What the tests of operations that write 8-bit numbers share."""

from __future__ import annotations

import torch
from torch import Tensor

from toprovar.ops.fp8 import E4M3, Factor
from toprovar.ops.fp8_linear import reference


def check_rounded(found: tuple[Tensor, Tensor], exact: Tensor, slack: float = 1e-4) -> None:
    """No number may be farther from the exact one than half a step, and ``slack`` of a step for
    what float32 rounds before."""
    data, scale = (part.cpu() for part in found)
    assert data.dtype == E4M3 and scale.dtype == torch.float32 and data.is_contiguous()
    assert data.shape == exact.shape and scale.shape == (*exact.shape[:-1], 1)
    _, expected = reference.quantize_rows(exact)
    torch.testing.assert_close(scale.double(), expected, rtol=2e-6, atol=0)
    check_nearest(data, exact / scale.double(), slack)


def check_nearest(data: Tensor, wanted: Tensor, slack: float) -> None:
    step = torch.exp2(wanted.abs().clamp_min(2.0**-6).log2().floor() - 3)
    assert ((data.double() - wanted).abs() <= step * (0.5 + slack)).all()


def some_factors(by_head: bool, heads: int, device: str) -> tuple[Factor, Factor]:
    """Of keys, whose channels are at most 1, and of values."""
    if not by_head:
        return 1 / 448, 0.02
    keys, values = (1 + torch.rand(2, heads, device=device)).unbind(0)
    return keys / 448, values / 50

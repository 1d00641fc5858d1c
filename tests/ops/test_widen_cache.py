from __future__ import annotations

import pytest
import torch

from tests.ops.fp8_cases import some_factors
from tests.ops.lanes import FP8_LANES, TOLERANCE, Lane, poisoned
from toprovar.ops.fp8 import E4M3
from toprovar.ops.widen_cache import reference, widen_cache


@pytest.mark.parametrize("lane", FP8_LANES)
@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("by_head", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1, 8), (2, 3, 70, 96), (1, 2, 65, 128)])
def test_against_reference(
    lane: Lane, dtype: torch.dtype, by_head: bool, shape: tuple[int, int, int, int]
) -> None:
    rows, heads, keys, size = shape
    # The first keys of a longer cache, both of one buffer
    cache = torch.randn(2, rows, heads, keys + 9, size, device=lane.device) * 99
    cache = cache.clamp(-448, 448).to(E4M3)  # beyond, a cast gives NaN
    k, v = cache[..., :keys, :].unbind(0)
    factors = some_factors(by_head, heads, lane.device)
    room = poisoned((2, rows, heads, keys + 3, size), dtype, lane.device)
    out = room[..., :keys, :]
    assert widen_cache(k, v, factors, out, backend=lane.backend) is out
    expected = reference.widen_cache(
        k.cpu(), v.cpu(),
        (factors[0].cpu(), factors[1].cpu()) if by_head else factors)  # type: ignore[union-attr]
    torch.testing.assert_close(out.cpu().double(), expected, atol=TOLERANCE[dtype],
                               rtol=TOLERANCE[dtype])
    assert room[..., keys:, :].isnan().all()


def test_what_does_not_fit_is_said() -> None:
    k = torch.zeros(1, 2, 3, 8).to(E4M3)
    out = torch.empty(2, 1, 2, 3, 8)
    with pytest.raises(ValueError, match=r"found \[1, 2, 3, 8\], \[1, 2, 2, 8\]"):
        widen_cache(k, k[:, :, :2], (1.0, 1.0), out)
    with pytest.raises(ValueError, match="float8_e4m3fn and out of a wider float, found"):
        widen_cache(k.float(), k, (1.0, 1.0), out)
    with pytest.raises(ValueError, match="two floats or two tensors, found float and Tensor"):
        widen_cache(k, k, (1.0, torch.ones(2)), out)
    with pytest.raises(ValueError, match=r"expected \[2\] float32 on cpu, contiguous, found \[3\]"):
        widen_cache(k, k, (torch.ones(3), torch.ones(3)), out)
    with pytest.raises(ValueError, match="finite numbers above 0, got 0"):
        widen_cache(k, k, (0.0, 1.0), out)

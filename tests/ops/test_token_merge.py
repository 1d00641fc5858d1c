from __future__ import annotations

import pytest
import torch

from tests.ops.lanes import LANES, TOLERANCE, Lane, poisoned, some_index
from toprovar.ops.resize_tokens import MODES
from toprovar.ops.token_index import token_slots
from toprovar.ops.token_merge import merge_update_, reference


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("per_row", [True, False])
@pytest.mark.parametrize("gated", [True, False])
def test_against_reference(
    lane: Lane, mode: str, dtype: torch.dtype, per_row: bool, gated: bool
) -> None:
    grid, new = (2, 3), (3, 5)
    index = some_index(2 if per_row else None, 15, 6, lane.device)
    cached = torch.randn(2, 8, 21, device=lane.device).to(dtype)[:, 1:7]
    fresh = torch.randn(2, 6, 21, device=lane.device).to(dtype)
    gate = torch.randn(2, 21, device=lane.device) if gated else None
    room = torch.randn(2, 17, 21, device=lane.device)
    x, edges = room[:, 1:16], room[:, ::16].clone()
    cpu = [t if t is None else t.cpu() for t in (fresh, gate, index, cached)]
    update = reference.merged_update(cpu[0], cpu[1], index.cpu(), cached.cpu(), grid, new, mode)
    expected = x.cpu().double() + update
    out = poisoned((2, 15, 21), torch.float32, lane.device)
    found = merge_update_(x, fresh, index, cached, grid, new, mode, gate=gate, out=out,
                          backend=lane.backend)
    assert found is x
    tolerance = TOLERANCE[dtype]
    torch.testing.assert_close(x.cpu().double(), expected, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(out.cpu().double(), update, atol=tolerance, rtol=tolerance)
    assert torch.equal(room[:, ::16], edges)


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("kept", [0, 4, 12])
def test_only_the_dropped(lane: Lane, kept: int) -> None:
    index = some_index(None, 12, kept, lane.device)
    cached, x = torch.randn(1, 4, 6, device=lane.device), torch.randn(1, 12, 6, device=lane.device)
    update = reference.merged_update(None, None, index.cpu(), cached.cpu(), (2, 2), (3, 4), "area")
    expected = x.cpu().double() + update
    merge_update_(x, None, index, cached, (2, 2), (3, 4), backend=lane.backend,
                  slots=token_slots(index, 12))
    torch.testing.assert_close(x.cpu().double(), expected, atol=1e-5, rtol=1e-5)


def test_slots() -> None:
    assert token_slots(torch.tensor([4, 0, 2]), 6).tolist() == [1, -1, 2, -1, 0, -1]
    assert token_slots(torch.tensor([[1], [0]]), 2).tolist() == [[-1, 0], [0, -1]]


def test_what_does_not_fit_is_said() -> None:
    x, cached, index = torch.randn(1, 12, 6), torch.randn(1, 4, 6), torch.arange(5)
    with pytest.raises(ValueError, match=r"fresh updates of shape \(1, 5, 6\)"):
        merge_update_(x, torch.randn(1, 4, 6), index, cached, (2, 2), (3, 4))
    with pytest.raises(ValueError, match="do not fit together"):
        merge_update_(x, None, index, cached, (2, 2), (4, 4))
    with pytest.raises(ValueError, match="token index: expected int64"):
        merge_update_(x, None, index.int(), cached, (2, 2), (3, 4))
    with pytest.raises(ValueError, match="needs fresh updates"):
        merge_update_(x, None, index, cached, (2, 2), (3, 4), out=x.clone())

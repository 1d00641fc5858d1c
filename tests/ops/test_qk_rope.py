from __future__ import annotations

import pytest
import torch

from tests.ops.fp8_cases import check_nearest, some_factors
from tests.ops.lanes import FP8_LANES, LANES, TOLERANCE, Lane, poisoned, some_index
from toprovar.models.rope import rotation_table
from toprovar.ops import qk_rope
from toprovar.ops.fp8 import E4M3
from toprovar.ops.qk_rope import portable, reference
from toprovar.ops.widen_cache import widen_cache


@pytest.mark.parametrize("head_dim", [8, 48, 96, 128])
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("per_row", [True, False])
def test_against_reference(head_dim: int, scaled: bool, per_row: bool) -> None:
    x = torch.randn(2, 12, 3, head_dim) * 5
    rotation = rotation_table((3, 4), (30, 40), head_dim)
    if per_row:
        rotation = torch.stack([rotation, rotation.flip(0)])
    scale = torch.tensor([1.0, 7.0, 100.0]) if scaled else None
    # Into a strided view, as the KV cache gives it
    out = torch.empty(12, 2, 3, head_dim).transpose(0, 1)
    qk_rope.normalise_rotate(x.clone(), rotation.contiguous(), out, scale)
    expected = reference.normalise_rotate(x, rotation, scale)
    torch.testing.assert_close(out, expected, atol=2e-5, rtol=1e-5)
    assert torch.allclose(out.norm(dim=-1)[..., 0], torch.ones(2, 12), atol=1e-5) or scaled


def test_devices_without_complex_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    x, rotation = torch.randn(1, 4, 2, 8), rotation_table((2, 2), (2, 2), 8)
    usual, other = torch.empty_like(x), torch.empty_like(x)
    qk_rope.normalise_rotate(x.clone(), rotation, usual)
    monkeypatch.setattr(portable, "COMPLEX_DEVICES", ())
    qk_rope.normalise_rotate(x.clone(), rotation, other)
    torch.testing.assert_close(usual, other)


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize(("given", "taken"), [
    (torch.float32, torch.float32), (torch.bfloat16, torch.bfloat16),
    (torch.float16, torch.float32), (torch.float32, torch.float16),
])
@pytest.mark.parametrize("index_rows", ["none", "shared", "per row"])
@pytest.mark.parametrize(("heads", "size", "table_rows"), [(1, 8, 0), (3, 48, 2), (5, 128, 0)])
def test_queries_keys_and_values_at_once(
    lane: Lane, given: torch.dtype, taken: torch.dtype, index_rows: str, heads: int, size: int,
    table_rows: int,
) -> None:
    rows, tokens, places = 2, 5, 12
    index = None
    if index_rows != "none":
        index = some_index(rows if index_rows == "per row" else None, places, tokens, lane.device)
    rotation = rotation_table((3, 4), (30, 40), size).to(lane.device)
    if index is None:
        rotation = rotation[:tokens].contiguous()
    if table_rows:
        rotation = torch.stack([rotation, rotation.flip(0)])
    # Half of a wider projection, as with fused weights: strides that are not those of a dense one
    qkv = torch.randn(rows, tokens, 6, heads, size, device=lane.device).to(given)[:, :, 1:4]
    scale = torch.rand(heads, device=lane.device) * 100
    expected = reference.rotate_qkv(
        qkv.cpu(), rotation.cpu(), scale.cpu(), None if index is None else index.cpu()
    )
    # Written at an offset of a KV cache [R, H, M, D]
    caches = [poisoned((rows, heads, tokens + 7, size), taken, lane.device) for _ in range(3)]
    views = [cache[:, :, 4 : 4 + tokens].transpose(1, 2) for cache in caches]
    q, k, v = views
    qk_rope.rotate_qkv(qkv, rotation, q, k, v, scale, index, backend=lane.backend)
    tolerance = max(TOLERANCE[given], TOLERANCE[taken])
    for view, cache, wanted in zip(views, caches, expected, strict=True):
        torch.testing.assert_close(view.cpu().float(), wanted, atol=tolerance, rtol=tolerance)
        assert cache[:, :, :4].isnan().all() and cache[:, :, 4 + tokens :].isnan().all()


@pytest.mark.parametrize("lane", FP8_LANES)
@pytest.mark.parametrize("by_head", [False, True])
@pytest.mark.parametrize(("heads", "size"), [(1, 8), (3, 48), (5, 128)])
def test_into_a_cache_of_8_bits_and_back(lane: Lane, by_head: bool, heads: int, size: int) -> None:
    rows, tokens = 2, 6
    rotation = rotation_table((2, 3), (2, 3), size).to(lane.device)
    qkv = torch.randn(rows, tokens, 3, heads, size, device=lane.device)
    qkv[0, 0, 2, 0, :4] = torch.tensor([1e4, -1e4, 1e-9, 0.0])  # beyond what can be stored
    factors = some_factors(by_head, heads, lane.device)
    wanted, *wide = reference.rotate_qkv(qkv.cpu(), rotation.cpu(), None)
    room = torch.zeros(2, rows, heads, tokens + 2, size, device=lane.device).to(E4M3)
    stored = room[..., 1:-1, :]
    k, v = stored.transpose(2, 3).unbind(0)
    q = poisoned((rows, tokens, heads, size), torch.float32, lane.device)
    qk_rope.rotate_qkv(qkv, rotation, q, k, v, factors=factors, backend=lane.backend)
    torch.testing.assert_close(q.cpu(), wanted, atol=1e-5, rtol=1e-5)
    assert (room[..., 0, :].float() == 0).all() and (room[..., -1, :].float() == 0).all()
    for out, exact, factor in zip((k, v), wide, factors, strict=True):
        scaled = exact.double() / (factor.cpu()[:, None] if isinstance(factor, torch.Tensor)
                                   else factor)
        check_nearest(out.cpu(), scaled.clamp(-448, 448), slack=2e-3)
    found = torch.empty(stored.shape, device=lane.device)
    widen_cache(stored[0], stored[1], factors, found, backend=lane.backend)
    error = (found[0].transpose(1, 2).cpu() - wide[0]).norm() / wide[0].norm()
    assert 0.01 < error < 0.04


@pytest.mark.parametrize("lane", LANES)
def test_zero_vectors_stay_zero(lane: Lane) -> None:
    qkv = torch.zeros(1, 2, 3, 2, 8, device=lane.device)
    q, k, v = outs = poisoned((3, 1, 2, 2, 8), torch.float32, lane.device).unbind(0)
    rotation = rotation_table((1, 2), (1, 2), 8).to(lane.device)
    qk_rope.rotate_qkv(qkv, rotation, q, k, v, backend=lane.backend)
    assert all((out == 0).all() for out in outs)


def test_fused_torch_path_has_the_bits_of_the_separate_one() -> None:
    qkv, rotation = torch.randn(2, 6, 3, 2, 16), rotation_table((2, 3), (2, 3), 16)
    outs = torch.empty(3, 2, 6, 2, 16)
    q_out, k_out, v_out = outs.unbind(0)
    q, k = torch.empty(2, 2, 6, 2, 16).unbind(0)
    qk_rope.normalise_rotate(qkv[:, :, 0].clone(), rotation, q, torch.tensor([2.0, 3.0]))
    qk_rope.normalise_rotate(qkv[:, :, 1].clone(), rotation, k)
    v = qkv[:, :, 2].clone()
    qk_rope.rotate_qkv(qkv, rotation, q_out, k_out, v_out, torch.tensor([2.0, 3.0]))
    assert torch.equal(outs, torch.stack([q, k, v]))


def test_what_does_not_fit_is_said() -> None:
    qkv, rotation = torch.randn(1, 6, 3, 2, 16), rotation_table((2, 4), (2, 4), 16)
    q, k, v = torch.empty(3, 1, 6, 2, 16).unbind(0)
    with pytest.raises(ValueError, match="6 tokens of head size 16 do not fit a rotation table"):
        qk_rope.rotate_qkv(qkv, rotation, q, k, v)
    with pytest.raises(ValueError, match="and an index of 5 places"):
        qk_rope.rotate_qkv(qkv, rotation, q, k, v, index=torch.arange(5))
    with pytest.raises(ValueError, match=r"expected v_out of shape \(1, 6, 2, 16\)"):
        qk_rope.rotate_qkv(qkv, rotation, q, k, torch.empty(1, 6, 2, 8))
    rotation = rotation_table((2, 3), (2, 3), 16)
    with pytest.raises(ValueError, match="must both be float8_e4m3fn where factors are given"):
        qk_rope.rotate_qkv(qkv, rotation, q, k, v, factors=(1.0, 1.0))
    with pytest.raises(ValueError, match=r"found torch\.float8_e4m3fn and torch\.float32, fac"):
        qk_rope.rotate_qkv(qkv, rotation, q, k.to(E4M3), v)

"""Attention with its entropy against the definition in float64, the same tests in every lane."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.attention_entropy_check import (
    ENTROPY_TOLERANCE,
    OUT_TOLERANCE,
    entropy_bound,
)
from tests.ops.attention_cases import DTYPES, INTERPRETER, LANES, Lane, inputs
from toprovar.ops.attention_entropy import (
    HEAD_SIZES,
    attention_entropy,
    attention_with_entropy,
    reference,
)
from toprovar.ops.attention_entropy.portable import attend as portable

lanes = pytest.mark.parametrize("lane", LANES)
few_examples = settings(max_examples=12, deadline=None, derandomize=True,
                        suppress_health_check=[HealthCheck.function_scoped_fixture])


def exact(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    return attention_with_entropy(q, k, v, scale, backend="reference")


def check(q: Tensor, k: Tensor, v: Tensor, scale: float, lane: Lane) -> Tensor:
    """Outputs and entropies written over NaN, compared with the definition."""
    out = torch.full_like(q, float("nan"))
    entropy = torch.full(q.shape[:3], float("nan"), device=q.device)
    returned = attention_with_entropy(q, k, v, scale, backend=lane.backend, out=out,
                                      entropy_out=entropy)
    assert returned[0] is out and returned[1] is entropy
    expected, expected_entropy = exact(q, k, v, scale)
    torch.testing.assert_close(out, expected, atol=OUT_TOLERANCE[q.dtype], rtol=0)
    torch.testing.assert_close(entropy, expected_entropy, atol=entropy_bound(scale), rtol=0)
    assert (entropy >= 0).all()
    return entropy


@lanes
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("d", HEAD_SIZES)
def test_head_sizes_and_dtypes(lane: Lane, d: int, dtype: torch.dtype) -> None:
    q, k, v = inputs(1, 2, 33, 71, d, dtype, lane.device)
    for scale in (1.0, 100.0):
        check(q, k, v, scale, lane)


def test_the_bound_is_that_of_logits_in_float32() -> None:
    """Only the logits are rounded here: their part alone comes near a bound that does not grow."""
    worst = 0.0
    for d in HEAD_SIZES:
        for seed in range(10):
            q, k, v = inputs(1, 2, 33, 71, d, torch.float32, "cpu", seed)
            logits = (100.0 * (q @ k.mT)).double()
            entropy = -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)
            worst = max(worst, (entropy - exact(q, k, v, 100.0)[1]).abs().max().item())
    assert ENTROPY_TOLERANCE / 3 < worst < entropy_bound(100.0)


@lanes
@few_examples
@given(data=st.data())
def test_any_shape(lane: Lane, data: st.DataObject) -> None:
    n = data.draw(st.integers(1, lane.most_queries))
    m = data.draw(st.integers(1, lane.most_keys))
    rows, heads = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    q, k, v = inputs(rows, heads, n, m, data.draw(st.sampled_from(HEAD_SIZES)),
                     data.draw(st.sampled_from(DTYPES)), lane.device, data.draw(st.integers(0, 99)))
    check(q, k, v, data.draw(st.sampled_from([0.0, 0.3, 8.0, 100.0])), lane)


@lanes
@few_examples
@given(data=st.data())
def test_late_maxima(lane: Lane, data: st.DataObject) -> None:
    """Each row's logits rise over the keys, so that the maximum moves in every tile."""
    m = data.draw(st.integers(2, lane.most_keys))
    scale = data.draw(st.sampled_from([1.0, 20.0, 100.0]))
    q, k, v = inputs(1, 1, 3, m, 64, torch.float32, lane.device, data.draw(st.integers(0, 99)))
    k = k[:, :, (q[:, :, 0] @ k[0, 0].T).argsort(-1).flatten()]
    check(q, k, v, scale, lane)


@lanes
@pytest.mark.parametrize("m", [1, 2, 63, 64, 65, 128, 131])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_equal_logits_give_log_m(lane: Lane, m: int, dtype: torch.dtype) -> None:
    q, k, v = inputs(1, 1, 5, m, 64, dtype, lane.device)
    for entropy in (check(torch.zeros_like(q), k, v, 100.0, lane), check(q, k, v, 0.0, lane),
                    check(q, k[:, :, :1].expand_as(k), v, 100.0, lane)):
        assert (entropy - math.log(m)).abs().max() <= ENTROPY_TOLERANCE


@lanes
def test_one_hot_rows_give_zero(lane: Lane) -> None:
    q, k, v = inputs(1, 2, 9, 140, 128, torch.float32, lane.device)
    k[:, :, 50:59] = q  # so each query has one key at 100, all others far below
    entropy = check(q, k, v, 100.0, lane)
    assert entropy.max() < 1e-5 and not entropy.isnan().any()


@lanes
def test_as_many_keys_as_the_last_scale_of_one_megapixel(lane: Lane) -> None:
    q, k, v = inputs(1, 1, 3, 10521, 64, torch.float16, lane.device)
    for scale in (4.0, 100.0):
        check(q, k, v, scale, lane)


@lanes
@few_examples
@given(data=st.data())
def test_order_of_keys_does_not_matter(lane: Lane, data: st.DataObject) -> None:
    m = data.draw(st.integers(2, lane.most_keys))
    q, k, v = inputs(1, 2, 7, m, 64, torch.float16, lane.device, data.draw(st.integers(0, 99)))
    order = torch.randperm(m, generator=torch.Generator().manual_seed(m)).to(lane.device)
    out, entropy = attention_with_entropy(q, k, v, 30.0, backend=lane.backend)
    again, entropy_again = attention_with_entropy(q, k[:, :, order], v[:, :, order], 30.0,
                                                  backend=lane.backend)
    torch.testing.assert_close(again, out, atol=OUT_TOLERANCE[q.dtype], rtol=0)
    torch.testing.assert_close(entropy_again, entropy, atol=entropy_bound(30.0), rtol=0)


@lanes
@few_examples
@given(data=st.data())
def test_two_halves_merge(lane: Lane, data: st.DataObject) -> None:
    m = data.draw(st.integers(2, lane.most_keys))
    cut = data.draw(st.integers(1, m - 1))
    scale = data.draw(st.sampled_from([1.0, 100.0]))
    q, k, _ = inputs(1, 1, 6, m, 64, torch.float32, lane.device, data.draw(st.integers(0, 99)))
    parts = []
    for part in (k[:, :, :cut], k[:, :, cut:]):
        logits = scale * (q.double() @ part.double().mT)
        parts += [logits.logsumexp(-1),
                  attention_entropy(q, part, scale, backend=lane.backend).double()]
    _, merged = reference.merge(*parts)
    whole = attention_entropy(q, k, scale, backend=lane.backend).double()
    torch.testing.assert_close(merged, whole, atol=3 * entropy_bound(scale), rtol=0)


@lanes
@pytest.mark.parametrize("heads", [None, [0], [2, 0], [1, 2, 3]], ids=str)
def test_variants(lane: Lane, heads: list[int] | None) -> None:
    q, k, v = inputs(2, 4, 37, 70, 64, torch.float16, lane.device)
    expected, each = exact(q, k, v, 20.0)
    each = each if heads is None else each[:, heads]
    for mean, wanted in ((False, each), (True, each.mean(1))):
        found = torch.full(wanted.shape, float("nan"), device=lane.device)
        out, entropy = attention_with_entropy(q, k, v, 20.0, backend=lane.backend, heads=heads,
                                              mean_heads=mean, entropy_out=found)
        torch.testing.assert_close(out, expected, atol=OUT_TOLERANCE[q.dtype], rtol=0)
        torch.testing.assert_close(entropy, wanted, atol=ENTROPY_TOLERANCE, rtol=0)
        alone = attention_entropy(q, k, 20.0, backend=lane.backend, heads=heads, mean_heads=mean)
        torch.testing.assert_close(alone, wanted, atol=ENTROPY_TOLERANCE, rtol=0)
        again = attention_entropy(q, k, 20.0, backend=lane.backend, heads=heads, mean_heads=mean)
        assert torch.equal(alone, again)


@lanes
def test_not_a_number_is_not_hidden_by_a_mean(lane: Lane) -> None:
    q, k, _ = inputs(1, 3, 20, 40, 64, torch.float32, lane.device)
    q[:, :2, 4] = float("nan")
    entropy = attention_entropy(q, k, 5.0, backend=lane.backend, mean_heads=True)
    assert entropy.isnan().nonzero().tolist() == [[0, 4]]


@lanes
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("d", [96, 104, 224])
def test_views_of_a_longer_cache(lane: Lane, dtype: torch.dtype, d: int) -> None:
    """Keys and values as a cache hands them out; what lies around them is neither read nor
    written."""
    q, k, v = inputs(2, 3, 21, 50, d, dtype, lane.device)
    expected = attention_with_entropy(q, k, v, 10.0, backend=lane.backend)

    def inside(x: Tensor, heads_first: bool) -> Tensor:
        rows, heads, count, _ = x.shape
        shape = (rows, heads, count + 9, d) if heads_first else (count + 9, rows, heads, d)
        room = torch.full(shape, float("nan"), dtype=dtype, device=lane.device)
        view = room[:, :, 4 : 4 + count] if heads_first else (
            room[4 : 4 + count].permute(1, 2, 0, 3))
        return view.copy_(x)

    for heads_first in (True, False):
        views = [inside(x, heads_first) for x in (q, k, v)]
        out = inside(q, heads_first)
        room = torch.full((2, 3, 30), -1.0, device=lane.device)
        found = room[:, :, 5:26]
        attention_with_entropy(views[0], views[1], views[2], 10.0, backend=lane.backend, out=out,
                               entropy_out=found)
        torch.testing.assert_close(out, expected[0], atol=OUT_TOLERANCE[dtype], rtol=0)
        torch.testing.assert_close(found, expected[1], atol=ENTROPY_TOLERANCE, rtol=0)
        assert (room[:, :, :5] == -1).all() and (room[:, :, 26:] == -1).all()
        around = out.untyped_storage().nbytes() // out.element_size() - out.numel()
        base = torch.as_strided(out, (out.numel() + around,), (1,), 0)
        assert base.isnan().sum() == around


@lanes
def test_odd_offsets_and_scattered_channels(lane: Lane) -> None:
    q, k, v = inputs(1, 2, 9, 30, 64, torch.bfloat16, lane.device)
    expected = attention_with_entropy(q, k, v, 10.0, backend=lane.backend)
    odd = torch.empty(k.numel() + 1, dtype=k.dtype, device=lane.device)[1:].view_as(k).copy_(k)
    scattered = v.mT.contiguous().mT
    across = q.mT.contiguous().mT
    found = attention_with_entropy(across, odd, scattered, 10.0, backend=lane.backend)
    torch.testing.assert_close(found, expected, atol=OUT_TOLERANCE[q.dtype], rtol=0)


def test_the_output_lies_like_the_queries() -> None:
    q, k, v = inputs(2, 3, 5, 9, 64, torch.float32, "cpu")
    q = q.transpose(1, 2).contiguous().transpose(1, 2)
    out, _ = attention_with_entropy(q, k, v, 1.0)
    assert out.transpose(1, 2).is_contiguous()


@lanes
def test_against_recorded_results(lane: Lane, fixtures: Path) -> None:
    found = load_file(fixtures / "infinity_2b_like" / "attention.safetensors")
    q, k, v = (found[x].to(lane.device) for x in "qkv")
    if lane == INTERPRETER:
        q = q[:, :, ::6]
    layer, scale = found["layer_scale"].tolist()
    golden = found[f"entropy.layer{layer}.scale{scale}"].to(lane.device)
    out, entropy = attention_with_entropy(q, k, v, 1.0, backend=lane.backend)
    step = 6 if lane == INTERPRETER else 1
    torch.testing.assert_close(entropy.double(), golden[:, :, ::step], atol=ENTROPY_TOLERANCE,
                               rtol=0)
    torch.testing.assert_close(out, found["out"][:, :, ::step].to(lane.device), atol=2e-5, rtol=0)


@pytest.mark.parametrize(("change", "message"), [
    ({"k": torch.zeros(1, 3, 5, 64)}, "same B, H and D"),
    ({"v": torch.zeros(1, 2, 6, 64)}, "k and v must have the same shape"),
    ({"k": torch.zeros(1, 2, 5, 64, dtype=torch.float16)}, "one dtype and device"),
    ({"k": torch.zeros(1, 2, 0, 64), "v": torch.zeros(1, 2, 0, 64)}, "at least one"),
    ({"scale": -1.0}, "at least 0, got -1"),
    ({"scale": float("nan")}, "finite"),
    ({"heads": [2]}, "some of 0..1"),
    ({"heads": [0, 0]}, "each once"),
    ({"heads": []}, "some of"),
    ({"out": torch.zeros(1, 2, 4, 63)}, "out must be"),
    ({"entropy_out": torch.zeros(1, 2, 4, dtype=torch.float64)}, "entropy_out must be"),
    ({"backend": "cuda"}, "unknown backend 'cuda'; expected one of auto, triton"),
    ({"q": torch.zeros(1, 2, 4, 64, requires_grad=True)}, "does not support gradients"),
])
def test_bad_input_is_named(change: dict, message: str) -> None:
    given = {"q": torch.zeros(1, 2, 4, 64), "k": torch.zeros(1, 2, 5, 64),
             "v": torch.zeros(1, 2, 5, 64), "scale": 1.0, **change}
    with pytest.raises(ValueError, match=message):
        attention_with_entropy(**given)


def test_the_published_accumulation_fails_on_late_maxima() -> None:
    """Why the extra term is there: a copy of the paper's Algorithm 2, which rescales its sum of
    x log x by e^(m - m') alone, is right only while the maximum does not move."""
    def published(x: Tensor, block: int, term: bool) -> float:
        m, total, weighted = -math.inf, 0.0, 0.0
        for tile in x.split(block):
            m_new = max(m, tile.max().item())
            a = math.exp(m - m_new)
            moved = (m - m_new) * total if term and total else 0.0
            y = tile - m_new
            weighted = a * (weighted + moved) + (y.exp() * y).sum().item()
            total = a * total + y.exp().sum().item()
            m = m_new
        return math.log(total) - weighted / total

    x = torch.linspace(0, 6, 64, dtype=torch.float64)
    p = x.softmax(0)
    right = -(p * p.log()).sum().item()
    assert abs(published(x.flip(0), 8, term=False) - right) < 1e-12
    assert abs(published(x, 8, term=False) - right) > 0.1
    assert abs(published(x, 8, term=True) - right) < 1e-12


def test_memory_of_the_portable_path_is_linear(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tensor of N x M elements is made, and tiles keep their size when there are more keys."""
    sizes: list[int] = []
    empty = torch.empty

    def counted(*args: object, **kwargs: object) -> Tensor:
        made = empty(*args, **kwargs)  # type: ignore[call-overload]  # passed through
        sizes.append(made.numel())
        return made

    monkeypatch.setattr("toprovar.ops.attention_entropy.portable.torch.empty", counted)
    q, k, v = inputs(1, 2, 1000, 8000, 16, torch.float32, "cpu")
    found = torch.full((1, 2, 1000), float("nan"))
    portable(q, k, v, 1.0, torch.empty_like(q), found, None, False)
    assert sizes and max(sizes) <= 2 << 20 < 2 * 1000 * 8000
    assert not found.isnan().any()

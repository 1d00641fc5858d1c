"""Windowed attention against the definition in float64, the same tests in every lane."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks.attention_entropy_check import ENTROPY_TOLERANCE, OUT_TOLERANCE
from tests.ops.attention_cases import inputs
from tests.ops.lanes import KERNEL_LANES, LANES, Lane, poisoned
from toprovar.ops.attention_entropy import attention_with_entropy
from toprovar.ops.sparse_attention import (
    HEAD_SIZES,
    Window,
    WindowBlocks,
    portable,
    visible_keys,
    window_blocks,
    windowed_attention,
)
from toprovar.ops.windows import tile_queries
from toprovar.schedules import get_schedule

lanes = pytest.mark.parametrize("lane", LANES)
GRIDS = ((1, 1), (3, 5), (9, 10))
WINDOW = Window(sinks=1, radius=1)


def made_for(
    grids: tuple[tuple[int, int], ...], window: Window, d: int, dtype: torch.dtype, device: str,
    rows: int = 1, heads: int = 2,
) -> tuple[WindowBlocks, Tensor, Tensor, Tensor]:
    blocks = window_blocks(grids, window, device)
    return blocks, *inputs(rows, heads, blocks.queries, blocks.keys, d, dtype, device)


def check(blocks: WindowBlocks, q: Tensor, k: Tensor, v: Tensor, backend: str, entropy: bool,
          mean: bool, scale: float = 20.0) -> Tensor | None:
    """Outputs written over NaN, and entropies, compared with the definition."""
    out = torch.full_like(q, float("nan"))
    returned, found = windowed_attention(q, k, v, scale, blocks, backend=backend, entropy=entropy,
                                         mean_heads=mean, out=out)
    assert returned is out
    expected, exact = windowed_attention(q, k, v, scale, blocks, backend="reference", entropy=True,
                                         mean_heads=mean)
    torch.testing.assert_close(out, expected, atol=OUT_TOLERANCE[q.dtype], rtol=0)
    assert (found is not None) == entropy
    if found is not None:
        torch.testing.assert_close(found, exact, atol=ENTROPY_TOLERANCE, rtol=0)
        assert (found >= 0).all()
    return found


@lanes
@pytest.mark.parametrize(("dtype", "entropy", "mean"), [
    (torch.float32, True, False), (torch.bfloat16, True, True), (torch.bfloat16, False, True),
], ids=str)
def test_against_the_definition(lane: Lane, dtype: torch.dtype, entropy: bool, mean: bool) -> None:
    blocks, q, k, v = made_for(GRIDS, WINDOW, 64, dtype, lane.device)
    found = check(blocks, q, k, v, lane.backend, entropy, mean)
    if found is not None:
        assert found.shape == ((1, blocks.queries) if mean else (1, 2, blocks.queries))


@lanes
@pytest.mark.parametrize("dtype", list(OUT_TOLERANCE), ids=str)
@pytest.mark.parametrize("d", HEAD_SIZES)
def test_head_sizes_and_dtypes(lane: Lane, d: int, dtype: torch.dtype) -> None:
    blocks, q, k, v = made_for(((1, 2), (3, 5)), Window(0, 0), d, dtype, lane.device, heads=1)
    check(blocks, q, k, v, lane.backend, True, True)


@pytest.mark.parametrize("grids", [
    ((1, 1), (3, 5), (7, 13), (9, 16)), ((2, 2), (16, 16)), ((5, 1), (1, 19)), ((8, 9), (17, 5)),
])
@pytest.mark.parametrize("window", [Window(0, 0), Window(1, 2), Window(9, 0)], ids=str)
@pytest.mark.parametrize("dtype", list(OUT_TOLERANCE), ids=str)
def test_odd_grids_in_torch(grids: tuple[tuple[int, int], ...], window: Window, dtype: torch.dtype
                            ) -> None:
    blocks, q, k, v = made_for(grids, window, 16, dtype, "cpu", rows=2, heads=3)
    for mean in (False, True):
        check(blocks, q, k, v, "torch", True, mean)
    check(blocks, q, k, v, "torch", False, True)


@pytest.mark.parametrize("lane", KERNEL_LANES)
def test_rows_and_ragged_blocks_in_the_kernel(lane: Lane) -> None:
    blocks, q, k, v = made_for(((3, 5), (7, 13), (3, 17)), Window(0, 1), 64, torch.float16,
                               lane.device, rows=2)
    check(blocks, q, k, v, lane.backend, True, False)


@lanes
def test_a_window_of_everything_is_dense_attention(lane: Lane) -> None:
    blocks, q, k, v = made_for(GRIDS, Window(0, 10), 64, torch.float32, lane.device)
    found = windowed_attention(q, k, v, 20.0, blocks, backend=lane.backend, entropy=True)
    dense = attention_with_entropy(q, k, v, 20.0, backend="reference", mean_heads=True)
    torch.testing.assert_close(found[0], dense[0], atol=OUT_TOLERANCE[q.dtype], rtol=0)
    torch.testing.assert_close(found[1], dense[1], atol=ENTROPY_TOLERANCE, rtol=0)


@lanes
def test_what_is_not_seen_is_not_read(lane: Lane) -> None:
    blocks, q, k, v = made_for(GRIDS, WINDOW, 64, torch.float32, lane.device)
    for tile in (0, 3):
        queries = tile_queries(GRIDS[-1])[tile].tolist()
        hidden = torch.from_numpy(~visible_keys(GRIDS, WINDOW)[tile]).to(lane.device)
        k_poisoned, v_poisoned = (x.masked_fill(hidden[:, None], float("nan")) for x in (k, v))
        out, entropy = windowed_attention(q, k_poisoned, v_poisoned, 1.0, blocks,
                                          backend=lane.backend, entropy=True)
        assert out[:, :, queries].isfinite().all() and hidden.any()
        assert entropy is not None and entropy[:, queries].isfinite().all()


@lanes
@pytest.mark.parametrize("heads_first", [True, False])
def test_views_of_a_longer_cache(lane: Lane, heads_first: bool) -> None:
    """Keys and values as a cache hands them out; what lies around them is neither read nor
    written."""
    blocks, q, k, v = made_for(((1, 3), (3, 9)), WINDOW, 96, torch.bfloat16, lane.device)

    def inside(x: Tensor) -> Tensor:
        rows, heads, count, d = x.shape
        if heads_first:
            view = poisoned((rows, heads, count + 9, d), x.dtype, lane.device)[:, :, 4 : 4 + count]
        else:
            room = poisoned((count + 9, rows, heads, d), x.dtype, lane.device)
            view = room[4 : 4 + count].permute(1, 2, 0, 3)
        return view.copy_(x)

    expected, _ = windowed_attention(q, k, v, 10.0, blocks, backend="reference")
    out = inside(q)
    windowed_attention(inside(q), inside(k), inside(v), 10.0, blocks, backend=lane.backend, out=out)
    torch.testing.assert_close(out, expected, atol=OUT_TOLERANCE[q.dtype], rtol=0)
    elements = out.untyped_storage().nbytes() // out.element_size()
    everything = torch.as_strided(out, (elements,), (1,), 0)
    assert everything.isnan().sum() == elements - out.numel()


@lanes
def test_odd_offsets_and_scattered_channels(lane: Lane) -> None:
    blocks, q, k, v = made_for(((1, 3), (3, 9)), WINDOW, 64, torch.float16, lane.device)
    odd = torch.empty(k.numel() + 1, dtype=k.dtype, device=lane.device)[1:].view_as(k).copy_(k)
    expected, _ = windowed_attention(q, k, v, 10.0, blocks, backend="reference")
    out, _ = windowed_attention(q.mT.contiguous().mT, odd, v.mT.contiguous().mT, 10.0, blocks,
                                backend=lane.backend)
    torch.testing.assert_close(out, expected, atol=OUT_TOLERANCE[q.dtype], rtol=0)


def test_memory_of_the_torch_path_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks, q, k, v = made_for(((4, 4), (40, 40)), Window(1, 2), 16, torch.float32, "cpu")
    gathered: list[int] = []

    def counted(x: Tensor, index: Tensor) -> Tensor:
        taken = x.index_select(1, index.flatten())
        gathered.append(taken.numel())
        return taken.view(x.shape[0], *index.shape, x.shape[2]).transpose(0, 1)

    monkeypatch.setattr(portable, "GATHERED", {"cpu": 20_000})
    monkeypatch.setattr(portable, "_gathered", counted)
    check(blocks, q, k, v, "torch", True, False)
    assert 5_000 < max(gathered) <= 20_000


@pytest.mark.parametrize(("change", "message"), [
    ({"q": torch.zeros(1, 2, 90, 32)}, "same R, H and D"),
    ({"v": torch.zeros(1, 2, 105, 64)}, "k, v"),
    ({"q": torch.zeros(1, 2, 80, 64)}, "90 queries and 106 keys; got 80 and 106"),
    ({"k": torch.zeros(1, 2, 106, 64).half()}, "one dtype"),
    ({"scale": -1.0}, "at least 0, got -1"),
    ({"scale": float("nan")}, "finite"),
    ({"out": torch.zeros(1, 2, 90, 63)}, "out must be"),
    ({"out": torch.zeros(1, 2, 64, 90).mT}, "contiguous channels"),
    ({"backend": "cuda"}, "unknown backend 'cuda'; expected one of auto, triton"),
    ({"q": torch.zeros(1, 2, 90, 64, requires_grad=True)}, "does not support gradients"),
    ({"blocks": window_blocks(GRIDS, WINDOW, "meta")}, "the window on meta"),
])
def test_bad_input_is_named(change: dict, message: str) -> None:
    given = {"q": torch.zeros(1, 2, 90, 64), "k": torch.zeros(1, 2, 106, 64),
             "v": torch.zeros(1, 2, 106, 64), "scale": 1.0,
             "blocks": window_blocks(GRIDS, WINDOW, "cpu"), **change}
    with pytest.raises(ValueError, match=message):
        windowed_attention(**given)


@pytest.mark.parametrize("lane", [p for p in KERNEL_LANES if p.id == "gpu"])
@pytest.mark.parametrize("heads", [16, 28])
@pytest.mark.parametrize(("template", "scales"), [("1.0", 13), ("1.0", 12), ("0.571", 13)])
def test_sizes_of_the_released_models(lane: Lane, heads: int, template: str, scales: int) -> None:
    grids = get_schedule(template, "1M").grids[:scales]
    blocks, q, k, v = made_for(grids, Window(6, 8), 128, torch.bfloat16, lane.device, 2, heads)
    for entropy, mean in ((False, True), (True, True), (True, False)):
        check(blocks, q, k, v, lane.backend, entropy, mean)
    once = windowed_attention(q, k, v, 20.0, blocks, entropy=True)[1]
    again = windowed_attention(q, k, v, 20.0, blocks, entropy=True)[1]
    assert once is not None and again is not None and torch.equal(once, again)


@pytest.mark.parametrize("lane", [p for p in KERNEL_LANES if p.id == "gpu"])
def test_replayed_graphs(lane: Lane) -> None:
    blocks, q, k, v = made_for(GRIDS, WINDOW, 128, torch.bfloat16, lane.device)
    windowed_attention(q, k, v, 20.0, blocks, entropy=True)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = windowed_attention(q, k, v, 20.0, blocks, entropy=True)
    q.normal_()
    graph.replay()
    fresh = windowed_attention(q, k, v, 20.0, blocks, entropy=True)
    torch.testing.assert_close(captured, fresh, atol=0, rtol=0)

"""Runs whose late scales see windows, against masked attention over all keys."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tiny import random_text, tiny_transformer
from toprovar.entropy.trace import TraceRecorder
from toprovar.ops.sparse_attention import Window, visible_keys
from toprovar.sampling.params import EngineOptions, SamplingParams
from toprovar.sampling.run import LayerProbe, SamplingRun
from toprovar.schedules import get_schedule
from toprovar.sparsity.cost import WorkTable, count
from toprovar.sparsity.plan import SparsityPlan, dense_plan
from toprovar.sparsity.strategies.window import window_plan

SCHEDULE = get_schedule("1.333", "0.06M")


def by_mask(q: Tensor, k: Tensor, v: Tensor, grids: Any, window: Window) -> tuple[Tensor, Tensor]:
    """Attention and entropies [R, H, N], in float64 with every key at hand."""
    tiles, (down, across) = visible_keys(grids, window), grids[-1]
    per_row = -(-across // 8)
    tile = [(y // 8) * per_row + x // 8 for y in range(down) for x in range(across)]
    hidden = ~torch.from_numpy(tiles)[tile]
    logits = (q.double() @ k.double().transpose(2, 3)).masked_fill(hidden, -torch.inf)
    p = logits.softmax(-1)
    return p @ v.double(), torch.special.entr(p).sum(-1)


class Reference(LayerProbe):
    def __init__(self, plan: SparsityPlan) -> None:
        self.plan, self.seen = plan, 0
        self.entropies: dict[tuple[int, int], Tensor] = {}

    def attention(self, scale: int, layer: int, q: Tensor, k: Tensor, v: Tensor, out: Tensor
                  ) -> None:
        window = self.plan.compiled.scales[scale].blocks[layer].window
        if window is None:
            return
        expected, entropy = by_mask(q, k, v, window.grids, Window(*window[1:]))
        torch.testing.assert_close(out.double(), expected, atol=2e-5, rtol=1e-4)
        self.entropies[scale, layer] = entropy[:2].mean(1)
        self.seen += 1


def run(plan: SparsityPlan, fused: bool, **how: Any) -> SamplingRun:
    model = tiny_transformer(depth=4, block_chunks=2)
    own = SamplingRun(model, random_text(5, 9), SamplingParams(SCHEDULE, 3.0, 0.7), plan=plan,
                      generators=torch.Generator().manual_seed(1),
                      options=EngineOptions(fused=fused), **how)
    for _ in own:
        pass
    return own


@pytest.mark.parametrize("fused", [False, True])
def test_attention_sees_windows(fused: bool) -> None:
    plan = window_plan(tiny_transformer(depth=4, block_chunks=2).shape, SCHEDULE, 1, 3, 2, 1.0)
    probe, trace = Reference(plan), TraceRecorder()
    run(plan, fused, probe=probe, watch=trace)
    assert probe.seen == 3 * 4
    for place, entropy in probe.entropies.items():
        found = trace.maps[place].flatten(1).double()
        torch.testing.assert_close(found, entropy, atol=1e-4, rtol=1e-4)
    bits = [run(plan, fused, **how).summed_codes for how in ({}, {"watch": TraceRecorder()})]
    assert torch.equal(*bits), "looking changes nothing"


def test_a_window_over_everything_is_dense() -> None:
    shape = tiny_transformer(depth=4, block_chunks=2).shape
    wide = window_plan(shape, SCHEDULE, 64, 2, 0, 1.0)
    a, b = run(wide, False), run(dense_plan(shape, SCHEDULE), False)
    torch.testing.assert_close(a.summed_codes, b.summed_codes)


def test_layers_see_the_scales_that_they_have_run() -> None:
    """A layer that was left out at a scale has no keys of it."""
    shape = tiny_transformer(depth=4, block_chunks=2).shape
    plan = window_plan(shape, SCHEDULE, 1, 2, 3, 1.0)
    scales = list(plan.scales)
    tokens = scales[2].tokens
    scales[2] = scales[2].model_copy(update={"keep": (tokens, 0, tokens, tokens)})
    scales[3] = scales[3].model_copy(update={"run": False})
    plan = SparsityPlan.model_validate(
        plan.model_copy(update={"scales": tuple(scales)}).model_dump())
    first, second = plan.compiled.scales[-1].blocks[:2]
    assert first.window is not None and second.window is not None
    grids = SCHEDULE.grids
    assert first.window.grids == (*grids[:3], *grids[4:]) and first.window.sinks == 3
    assert second.window.grids == (*grids[:2], *grids[4:]) and second.window.sinks == 2
    probe = Reference(plan)
    run(plan, False, probe=probe)
    assert probe.seen == 8


def test_windows_need_every_key() -> None:
    shape = tiny_transformer(depth=4, block_chunks=2).shape
    plan = window_plan(shape, SCHEDULE, 1, 1, 0)
    for changes in ({"keep": (9, 9, 3, 9)}, {"cache": (5,) * 4}):
        scales = list(plan.scales)
        step = scales[2].model_dump() | changes
        if "keep" in changes:
            step["rule"] = "variance"
            step["keep"] = (scales[2].tokens,) * 2 + (1, scales[2].tokens)
        scales[2] = type(scales[2]).model_validate(step)
        with pytest.raises(ValueError, match="scale 6 has a window, but the cache does not hold"):
            SparsityPlan.model_validate(plan.model_dump() | {"scales": scales})
    step = plan.scales[-1].model_dump() | {"keep": (4, 4, 4, 4)}
    with pytest.raises(ValueError, match="a window is for layers that work on all tokens"):
        type(plan.scales[-1]).model_validate(step)


def test_work_is_what_is_seen() -> None:
    shape = tiny_transformer(depth=4, block_chunks=2).shape
    plan = window_plan(shape, SCHEDULE, 1, 1, 2)
    window = plan.compiled.scales[-1].blocks[0].window
    assert window is not None
    tiles = visible_keys(window.grids, Window(*window[1:]))
    down, across = SCHEDULE.grids[-1]
    per_row = -(-across // 8)
    weights = torch.zeros(len(tiles), dtype=torch.float64)
    for y in range(down):
        for x in range(across):
            weights[(y // 8) * per_row + x // 8] += 1
    mean = float((weights @ torch.from_numpy(tiles).double().sum(1)) / (down * across))
    assert WorkTable.of(plan).keys[-1, 0] == pytest.approx(mean)
    cost = count(plan, shape)
    assert cost.token_layer_share == 1 and cost.flop_share < 1 and cost.kv_share == 1


def test_scales_that_would_see_nearly_everything_stay_dense() -> None:
    shape = tiny_transformer(depth=4, block_chunks=2).shape
    small = window_plan(shape, SCHEDULE)
    assert not any(step.window for step in small.scales) and len(small.notes) == 2
    assert "scale 6 would see" in small.notes[1]
    large = window_plan(shape, get_schedule("1.0", "1M"))
    assert [s for s, step in enumerate(large.scales) if step.window] == [11, 12]
    assert large.scales[-1].window and large.scales[-1].window.radius == 8 and not large.notes

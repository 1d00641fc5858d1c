"""Runs whose layers hold few keys, against plain gathering of all keys."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.tiny import random_text, tiny_transformer
from toprovar.sampling.bounded_cache import BoundedCache, BoundedLayout
from toprovar.sampling.cache import KVCache
from toprovar.sampling.params import EngineOptions, SamplingParams
from toprovar.sampling.run import LayerProbe, SamplingRun
from toprovar.schedules import get_schedule
from toprovar.sparsity.key_selection import hold, select_keys
from toprovar.sparsity.plan import SparsityPlan
from toprovar.sparsity.strategies.fastvar import fastvar_plan
from toprovar.sparsity.strategies.scalekv import scalekv_plan

SCHEDULE = get_schedule("1.0", "0.06M")


class Reference(LayerProbe):
    """Keeps all keys in lists of its own and says at every attention which should be seen."""

    def __init__(self, plan: SparsityPlan) -> None:
        self.plan, self.known, self.seen = plan, {}, 0
        self.shortened = 0

    def attention(self, scale: int, layer: int, q: Tensor, k: Tensor, v: Tensor, out: Tensor
                  ) -> None:
        count, block = q.shape[2], self.plan.compiled.scales[scale].blocks[layer]
        both = torch.stack([k, v])
        if layer in self.known:
            before = self.known[layer][:, : q.shape[0]]
            assert torch.equal(both[..., :-count, :], before)
            both = torch.cat([before, both[..., -count:, :]], 3)
        assert both.shape[3] == block.keys
        if block.held < block.keys:
            self.shortened += 1
            grid = self.plan.scales[scale].grid
            index = select_keys(q, both[0], hold(block.held, grid, count))
            both = both.gather(3, index[None, ..., None].expand(2, -1, -1, -1, both.shape[-1]))
        self.known[layer] = both.clone()
        self.seen += 1


class Outputs(LayerProbe):
    """Keeps the residual after every block."""

    def __init__(self) -> None:
        self.seen: dict[tuple[int, int], Tensor] = {}

    def block_output(self, scale: int, layer: int, x: Tensor) -> None:
        self.seen[scale, layer] = x.clone()


def run(plan: SparsityPlan, fused: bool, probe: LayerProbe | None = None, cfg: float = 3.0,
        ) -> tuple[Tensor, SamplingRun]:
    model = tiny_transformer(depth=4, block_chunks=2)
    own = SamplingRun(model, random_text(5, 9), SamplingParams(SCHEDULE, cfg, 0.7), plan=plan,
                      generators=torch.Generator().manual_seed(1), probe=probe,
                      options=EngineOptions(fused=fused))
    for _ in own:
        pass
    return own.summed_codes, own


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("share", [0.1, 0.4])
def test_attention_sees_what_earlier_scales_held(fused: bool, share: float) -> None:
    plan = scalekv_plan(tiny_transformer(depth=4, block_chunks=2).shape, SCHEDULE, share, (1,))
    probe = Reference(plan)
    codes, own = run(plan, fused, probe)
    assert probe.seen == 4 * len(SCHEDULE) and probe.shortened >= 3 * 3
    assert isinstance(own.runner.cache, BoundedCache)
    assert torch.equal(codes, run(plan, fused)[0])


@pytest.mark.parametrize("fused", [False, True])
def test_bounds_that_hold_everything_change_nothing(fused: bool) -> None:
    shape = tiny_transformer(depth=4, block_chunks=2).shape
    plan = scalekv_plan(shape, SCHEDULE, 1.0, ())
    scales = list(plan.scales)
    total = sum(SCHEDULE.tokens[:3])
    scales[2] = scales[2].model_copy(update={"cache": (total,) * 3 + (total - 1,)})
    bounded = plan.model_copy(update={"scales": tuple(scales)})
    assert bounded.compiled.bounded
    dense, bound = Outputs(), Outputs()
    run(plan, fused, dense)
    _, own = run(bounded, fused, bound)
    assert isinstance(own.runner.cache, BoundedCache)
    for place, x in dense.seen.items():
        if place < (3, 3):
            assert torch.equal(x, bound.seen[place]), place
    assert not torch.equal(dense.seen[3, 3], bound.seen[3, 3])  # a key is missing


def test_goes_together_with_dropped_tokens_and_rows() -> None:
    shape = tiny_transformer(depth=4, block_chunks=2).shape
    some = fastvar_plan(shape, SCHEDULE)
    plan = some.model_copy(update={"scales": tuple(
        step.model_copy(update={"cache": (20, 9, 9, 9), "unconditional": s < 5})
        for s, step in enumerate(some.scales))})
    plan = SparsityPlan.model_validate(plan.model_dump())
    probe = Reference(plan)
    codes, _ = run(plan, False, probe)
    assert probe.shortened and torch.isfinite(codes).all()


def test_memory_is_what_the_layout_says() -> None:
    shape = tiny_transformer(depth=4, block_chunks=2).shape
    plan = scalekv_plan(shape, SCHEDULE, 0.1, ())
    _, own = run(plan, False)
    _, dense = run(scalekv_plan(shape, SCHEDULE, 1.0, ()), False)
    layout = BoundedLayout.plan(plan.compiled)
    assert own.runner.cache.layout == layout
    assert layout.working == plan.compiled.scales[-1].blocks[0].keys
    key = own.rows * shape.width * 2 * own.transformer.compute_dtype.itemsize
    assert own.report().kv_bytes == own.runner.cache.nbytes == layout.size * key
    assert isinstance(dense.runner.cache, KVCache)
    assert own.report().kv_bytes < dense.report().kv_bytes


def test_a_cache_says_where_it_is_full() -> None:
    cache = BoundedCache(BoundedLayout((0, 2, 4), 5), 1, 1, 4, torch.float32, torch.device("cpu"))
    with pytest.raises(ValueError, match="layer 1: 6 keys after 0"):
        cache.new(1, 6, 1)
    cache.new(1, 5, 1)
    with pytest.raises(ValueError, match="layer 1: 5 keys do not fit the room"):
        cache.hold(1, 1, None)


def test_eight_bit_keys_are_held_bit_by_bit() -> None:
    cache = BoundedCache(BoundedLayout((0, 3), 9), 1, 2, 4, torch.float8_e4m3fn,
                         torch.device("cpu"))
    k, v = cache.new(0, 6, 1)
    k.copy_(torch.randn(1, 6, 2, 4).to(k.dtype))
    v.copy_(torch.randn(1, 6, 2, 4).to(k.dtype))
    keys = k.float().clone()
    cache.hold(0, 1, torch.tensor([[[0, 2, 5], [1, 3, 4]]]))
    cache.new(0, 1, 1)
    found, _ = cache.visible(0, 1)
    assert torch.equal(found[0, 0, :3].float(), keys[0, [0, 2, 5], 0])
    assert torch.equal(found[0, 1, :3].float(), keys[0, [1, 3, 4], 1])


def test_an_unknown_bound_cannot_come_in_the_middle_of_a_run() -> None:
    shape = tiny_transformer(depth=4, block_chunks=2).shape
    model = tiny_transformer(depth=4, block_chunks=2)
    own = SamplingRun(model, random_text(5), SamplingParams(SCHEDULE, 3.0, 0.7))
    steps = iter(own)
    next(steps)
    own.plan_state.plan = scalekv_plan(shape, SCHEDULE, 0.1)
    own._laid_out = 0
    with pytest.raises(ValueError, match="must be known before the run"):
        list(steps)

"""Sparse runs: against the plain loop, against dense, and against themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.sampling.plain import plain_logits
from tests.sampling.plans import IndexSelector, ShuffledSelector, index_plan
from tests.tiny import random_text, tiny_pipeline, tiny_transformer
from toprovar.entropy.trace import TraceRecorder
from toprovar.models.text import PackedText
from toprovar.ops.attention.reference import entropy as naive_entropy
from toprovar.ops.resize_tokens import resize_map
from toprovar.sampling.bits import ForcedBits
from toprovar.sampling.params import SamplingParams
from toprovar.sampling.run import LayerProbe, SamplingRun, ScaleState
from toprovar.schedules import get_schedule
from toprovar.sparsity.cost import Target
from toprovar.sparsity.plan import ModelTag, ScalePlan, SparsityPlan
from toprovar.sparsity.strategies.fastvar import fastvar_plan
from toprovar.sparsity.strategies.toprovar.before import toprovar_plan
from toprovar.sparsity.strategies.toprovar.in_run import ToProVar
from toprovar.sparsity.strategies.toprovar.settings import ToProVarSettings

SCHEDULE = get_schedule("1.0", "0.06M")
TOKENS = SCHEDULE.tokens
PARAMS = SamplingParams(SCHEDULE, 3.0, 0.7)
MODEL = tiny_transformer()
SHAPE = MODEL.shape


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def run(plan: Any, text: PackedText | None = None, seed: int = 1, **how: Any
        ) -> tuple[list[ScaleState], SamplingRun]:
    own = SamplingRun(MODEL, text or random_text(5), how.pop("params", PARAMS), plan=plan,
                      generators=how.pop("generators", seeded(seed)), **how)
    return list(own), own


def plan_of(**steps: Any) -> SparsityPlan:
    """Half of the tokens of layers 1 and 2 from scale 4 on."""
    return SparsityPlan(
        strategy="half", model=ModelTag.of(SHAPE), schedule="", scales=tuple(
            ScalePlan(grid=g, **(steps if s >= 4 else {}), keep=tuple(
                n // 2 if s >= 4 and layer else n for layer in range(SHAPE.depth)))
            for s, (g, n) in enumerate(zip(SCHEDULE.grids, TOKENS, strict=True))
        ),
    )


def test_cached_updates_against_the_plain_loop() -> None:
    """Scale after scale: what dropped tokens were given is part of what is handed on."""
    text = random_text(3, 6)
    kept: dict[tuple[int, int], Tensor] = {}
    for scale in range(2, len(TOKENS)):
        for layer, share in enumerate((1.0, 0.4, 0.0)):
            if share < 1:
                count = int(TOKENS[scale] * share)
                kept[scale, layer] = torch.randperm(TOKENS[scale], generator=seeded(scale))[:count]
    bits = [torch.randint(0, 2, (2, n, 8), generator=seeded(n), dtype=torch.uint8) for n in TOKENS]
    found = {}
    for dropped in ("identity", "cached"):
        states, _ = run(index_plan(SHAPE, SCHEDULE, kept, dropped=dropped), text,
                        params=SamplingParams(SCHEDULE, 1.0, 1.0), selector=IndexSelector(kept),
                        choose=ForcedBits(bits))
        found[dropped] = [s.logits for s in states]
        expected = plain_logits(MODEL, text, SCHEDULE, bits, kept, cached=dropped == "cached")
        for a, b in zip(found[dropped], expected, strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
    assert (found["identity"][-1] - found["cached"][-1]).abs().max() > 1e-2


NOTHING_DROPPED = {
    "toprovar before": toprovar_plan(SHAPE, SCHEDULE, ToProVarSettings(
        start_scale=2, alpha_max=0.0)),
    "toprovar in the run": ToProVar(ToProVarSettings(start_scale=4, alpha_max=0.0)),
    "toprovar in the run, cached": ToProVar(ToProVarSettings(
        start_scale=4, alpha_max=0.0, dropped="cached")),
    "toprovar never crossing": ToProVar(ToProVarSettings(tau=1.0, crossing="rising",
                                                        dropped="identity")),
    "fastvar": fastvar_plan(SHAPE, SCHEDULE, drop=(0.0, 0.0, 0.0, 0.0)),
}


@pytest.mark.parametrize("name", NOTHING_DROPPED)
def test_a_plan_that_keeps_everything_is_dense_bit_by_bit(name: str) -> None:
    dense, _ = run(None)
    states, own = run(NOTHING_DROPPED[name])
    for a, b in zip(dense, states, strict=True):
        assert torch.equal(a.logits, b.logits) and torch.equal(a.bits, b.bits)
    assert torch.equal(dense[-1].summed_codes, states[-1].summed_codes)
    assert own.report().token_layers == own.report().dense_token_layers


def test_watching_a_run_does_not_change_it() -> None:
    dense, _ = run(None)
    recorder = TraceRecorder()
    states, _ = run(None, watch=recorder)
    assert torch.equal(dense[-1].logits, states[-1].logits)


@pytest.mark.parametrize("steps", [
    {}, {"dropped": "cached"}, {"rule": "variance"}, {"rule": "random"},
    {"rule": "variance", "rows": "separate"}, {"region": 4, "min_per_region": 2},
    {"rule": "variance", "rows": "separate", "per": "sublayer", "dropped": "cached", "source": 3,
     "resize": "area"},
], ids=lambda s: "-".join(map(str, s.values())) or "entropy")
class TestEveryKindOfStep:
    def test_the_order_of_storage_does_not_matter(self, steps: dict) -> None:
        plan = plan_of(**steps)
        (a, _), (b, _) = run(plan), run(plan, selector=ShuffledSelector(plan, 1))
        for one, other in zip(a, b, strict=True):
            torch.testing.assert_close(one.logits, other.logits, atol=1e-4, rtol=1e-4)
            assert torch.equal(one.bits, other.bits)

    def test_same_seed_same_picture(self, steps: dict) -> None:
        (a, _), (b, _), (c, _) = run(plan_of(**steps)), run(plan_of(**steps)), run(
            plan_of(**steps), seed=2)
        assert torch.equal(a[-1].logits, b[-1].logits)
        assert not torch.equal(a[-1].bits, c[-1].bits)

    def test_images_of_a_batch_do_not_influence_one_another(self, steps: dict) -> None:
        text = random_text(4, 9)
        both, _ = run(plan_of(**steps), text, generators=[seeded(5), seeded(6)])
        alone, _ = run(plan_of(**steps), PackedText(text.rows()[1], (9,)), generators=seeded(6))
        for a, b in zip(both, alone, strict=True):
            assert torch.equal(a.bits[1:], b.bits)

    def test_it_differs_from_dense_only_from_its_first_scale_on(self, steps: dict) -> None:
        dense, _ = run(None)
        states, own = run(plan_of(**steps))
        for s, (a, b) in enumerate(zip(dense, states, strict=True)):
            if s == steps.get("source"):  # runs by sub-layers, which rounds differently
                torch.testing.assert_close(a.logits, b.logits, atol=1e-4, rtol=1e-4)
            else:
                assert torch.equal(a.logits, b.logits) == (s < 4)
        kept = own.report().scales[6].kept
        assert kept == (256, 128, 128)


def test_entropy_picks_the_lowest_of_the_latest_maps() -> None:
    """Maps, upsampling, refreshing and choice, against naive entropies in float64."""
    maps: dict[tuple[int, int], Tensor] = {}

    class Naive(LayerProbe):
        def attention(self, scale: int, layer: int, q: Tensor, k: Tensor, v: Tensor, out: Tensor
                      ) -> None:
            maps[scale, layer] = naive_entropy(q[:1], k[:1], 1.0).mean(1)[0]

    states, _ = run(plan_of(), probe=Naive())
    for layer in (1, 2):
        latest = maps[3, layer].float()
        for scale in (4, 5, 6):
            shown = resize_map(latest.view(SCHEDULE.grids[scale - 1]), SCHEDULE.grids[scale])
            count, scores = TOKENS[scale] // 2, shown.flatten()
            index = states[scale].kept[layer]
            worst_kept = scores[index].max()
            dropped = torch.ones(TOKENS[scale], dtype=torch.bool).index_fill(0, index, False)
            assert len(index) == count == int((~dropped).sum())
            assert worst_kept <= scores[dropped].min() + 1e-5
            latest = scores.index_copy(0, index, maps[scale, layer].float())


def test_regions_keep_their_minimum() -> None:
    states, _ = run(plan_of(region=4, min_per_region=6))
    for layer in (1, 2):
        kept = torch.zeros(256).index_fill(0, states[6].kept[layer], 1.0).view(4, 4, 4, 4)
        assert kept.sum((1, 3)).min() >= 6


def test_scales_left_out_take_their_draws() -> None:
    dense = plan_of().model_copy(update={"scales": tuple(
        ScalePlan(grid=g, keep=(n,) * SHAPE.depth, run=s != 3)
        for s, (g, n) in enumerate(zip(SCHEDULE.grids, TOKENS, strict=True)))})
    ours, full = seeded(1), seeded(1)
    states, own = run(dense, generators=ours)
    run(None, generators=full)
    assert torch.equal(ours.get_state(), full.get_state())
    assert [s.index for s in states] == [0, 1, 2, 4, 5, 6]
    reports = own.report().scales
    assert not reports[3].run and reports[3].kept == (0, 0, 0) and reports[4].run


def test_without_the_unconditional_row() -> None:
    """From its last scales on such a run is a run without guidance on the same keys."""
    plan = plan_of().model_copy(update={"scales": tuple(
        ScalePlan(grid=g, keep=(n,) * SHAPE.depth, unconditional=s < 5)
        for s, (g, n) in enumerate(zip(SCHEDULE.grids, TOKENS, strict=True)))})
    bits = [torch.randint(0, 2, (1, n, 8), generator=seeded(n), dtype=torch.uint8) for n in TOKENS]
    states, own = run(plan, choose=ForcedBits(bits))
    alone, _ = run(None, choose=ForcedBits(bits), params=SamplingParams(SCHEDULE, 1.0, 0.7))
    both, _ = run(None, choose=ForcedBits(bits))
    torch.testing.assert_close(states[6].logits, alone[6].logits, atol=1e-4, rtol=1e-4)
    assert torch.equal(states[4].logits, both[4].logits)
    assert [s.rows for s in own.report().scales] == [2, 2, 2, 2, 2, 1, 1]


@pytest.mark.parametrize("settings", [
    {}, {"dropped": "cached"}, {"dimensions": "scale+token"}, {"dimensions": "scale+layer"},
    {"dimensions": "scale"}, {"rule": "random"}, {"unconditional_off": 2},
], ids=lambda s: "-".join(map(str, s.values())) or "plain")
def test_a_plan_made_in_the_run_gives_the_same_picture_again(settings: dict) -> None:
    strategy = ToProVar(ToProVarSettings(start_scale=4, tile=4, **settings))
    states, own = run(strategy)
    plan = own.report().used_plan
    assert plan is not None and plan.predicted and plan.predicted.token_layer_share < 1
    again, other = run(plan)
    for a, b in zip(states, again, strict=True):
        assert torch.equal(a.bits, b.bits) and torch.equal(a.logits, b.logits)
    assert own.report().token_layers == other.report().token_layers
    assert own.report().token_layers == plan.predicted.token_layers


def test_a_smaller_plan_takes_a_smaller_cache() -> None:
    (_, dense), (_, half) = run(None), run(plan_of())
    assert half.report().kv_bytes < dense.report().kv_bytes
    _, planned = run(ToProVar(ToProVarSettings(start_scale=4), target=Target(0.5)))
    assert planned.report().kv_bytes < dense.report().kv_bytes


def test_a_strategy_that_plans_inside_takes_images_one_by_one() -> None:
    strategy = ToProVar(ToProVarSettings(start_scale=4, tile=4, dropped="identity"))
    with pytest.raises(ValueError, match="one image at a time"):
        run(strategy, random_text(3, 4))
    pipeline = tiny_pipeline()
    both = pipeline(["a dog", "a red car and a cat"], seed=3, plan=strategy, output_type="latent")
    alone = pipeline("a red car and a cat", seed=4, plan=strategy, output_type="latent")
    assert torch.equal(both.images[1:], alone.images)
    assert len(both.reports) == 2
    assert both.reports[1].used_plan == alone.report.used_plan
    with pytest.raises(ValueError, match="one generator cannot be shared"):
        pipeline(["a dog", "a cat"], generator=seeded(1), plan=strategy)


def test_plans_for_something_else_are_refused() -> None:
    other = get_schedule("1.0", "0.25M")
    with pytest.raises(ValueError, match=r"schedule 0\.25M 1\.0 \(10 scales"):
        run(fastvar_plan(SHAPE, other))
    with pytest.raises(ValueError, match="layers = 4, this one has 3"):
        run(fastvar_plan(tiny_transformer(depth=4, block_chunks=2).shape, SCHEDULE))
    tagged = plan_of().model_copy(update={"model": ModelTag.of(SHAPE, "other-weights")})
    _, own = run(tagged)
    assert any("made for other weights" in note for note in own.report().notes)

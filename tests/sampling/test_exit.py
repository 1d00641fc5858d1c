"""Tokens that leave a scale: what they cost, and what becomes of their codes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.sampling.plain import plain_logits
from tests.sampling.plans import IndexSelector, ShuffledSelector, index_plan
from tests.sampling.test_sparse import MODEL, PARAMS, SCHEDULE, SHAPE, TOKENS, run, seeded
from tests.tiny import random_text, tiny_transformer
from toprovar.models.text import PackedText
from toprovar.ops.attention.reference import entropy as naive_entropy
from toprovar.ops.resize_tokens import resize_map
from toprovar.sampling.bits import ForcedBits
from toprovar.sampling.params import SamplingParams
from toprovar.sampling.run import LayerProbe, SamplingRun
from toprovar.schedules import get_schedule
from toprovar.sparsity.plan import ModelTag, ScalePlan, SparsityPlan


def exit_plan(share: float = 0.5, first: int = 4, **steps: Any) -> SparsityPlan:
    """A share of the tokens stays from scale ``first`` on."""
    return SparsityPlan(
        strategy="exit", model=ModelTag.of(SHAPE), schedule="", scales=tuple(
            ScalePlan(grid=g, **({"dropped": "exit", **steps} if s >= first else {}),
                      keep=(int(n * share) if s >= first else n,) * SHAPE.depth)
            for s, (g, n) in enumerate(zip(SCHEDULE.grids, TOKENS, strict=True))
        ),
    )


@pytest.mark.parametrize("patch", [1, 2])
def test_against_the_plain_loop(patch: int) -> None:
    """The codes of tokens that left are part of no later scale's input."""
    model = MODEL if patch == 1 else tiny_transformer(spatial_patchify=True)
    shape, width = model.shape, model.shape.bits_per_token
    text = random_text(3, 6)
    kept: dict[tuple[int, int], Tensor] = {}
    for scale in range(2, len(TOKENS)):
        index = torch.stack([torch.randperm(TOKENS[scale], generator=seeded(scale + 9 * row))
                             for row in range(2)])[:, : int(TOKENS[scale] * 0.4)]
        kept |= {(scale, layer): index for layer in range(shape.depth)}
    bits = [torch.randint(0, 2, (2, n, width), generator=seeded(n), dtype=torch.uint8)
            for n in TOKENS]
    own = SamplingRun(
        model, text, SamplingParams(SCHEDULE, 1.0, 1.0), selector=IndexSelector(kept),
        plan=index_plan(shape, SCHEDULE, kept, dropped="exit"), choose=ForcedBits(bits),
    )
    expected = plain_logits(model, text, SCHEDULE, bits, kept, exits=True)
    for state, logits in zip(own, expected, strict=True):
        torch.testing.assert_close(state.logits, logits, atol=1e-4, rtol=1e-4)


def test_if_all_stay_it_is_dense_bit_by_bit() -> None:
    dense, _ = run(None)
    states, _ = run(exit_plan(1.0))
    assert torch.equal(dense[-1].logits, states[-1].logits)
    assert torch.equal(dense[-1].summed_codes, states[-1].summed_codes)


def test_random_draws_do_not_depend_on_who_leaves() -> None:
    ours, full = seeded(1), seeded(1)
    run(exit_plan(), generators=ours)
    run(None, generators=full)
    assert torch.equal(ours.get_state(), full.get_state())


@pytest.mark.parametrize("steps", [
    {}, {"guide": (2,)}, {"rule": "variance"}, {"rule": "variance", "rows": "separate"},
    {"rule": "random"}, {"region": 4, "min_per_region": 2},
], ids=lambda s: "-".join(map(str, s.values())) or "entropy")
class TestEveryRule:
    def test_all_layers_keep_the_same_tokens(self, steps: dict) -> None:
        states, own = run(exit_plan(**steps))
        kept = states[6].kept
        assert set(kept) == {0, 1, 2}
        assert torch.equal(kept[0], kept[1]) and torch.equal(kept[0], kept[2])
        assert own.report().scales[6].kept == (128, 128, 128)

    def test_the_order_of_storage_does_not_matter(self, steps: dict) -> None:
        plan = exit_plan(**steps)
        (a, _), (b, _) = run(plan), run(plan, selector=ShuffledSelector(plan, 1))
        for one, other in zip(a, b, strict=True):
            torch.testing.assert_close(one.logits, other.logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(a[-1].summed_codes, b[-1].summed_codes)

    def test_images_of_a_batch_do_not_influence_one_another(self, steps: dict) -> None:
        text = random_text(4, 9)
        both, _ = run(exit_plan(**steps), text, generators=[seeded(5), seeded(6)])
        alone, _ = run(exit_plan(**steps), PackedText(text.rows()[1], (9,)), generators=seeded(6))
        assert torch.equal(both[-1].summed_codes[1:], alone[-1].summed_codes)


def test_the_guides_agree_on_the_lowest_entropies() -> None:
    maps: dict[int, Tensor] = {}

    class Naive(LayerProbe):
        def attention(self, scale: int, layer: int, q: Tensor, k: Tensor, v: Tensor, out: Tensor
                      ) -> None:
            if scale == 5:
                maps[layer] = naive_entropy(q[:1], k[:1], 1.0).mean(1)[0]

    plan = exit_plan(first=6, guide=(1, 2))
    assert plan.compiled.where("measured") == {(5, 1), (5, 2)}
    states, _ = run(plan, probe=Naive())
    total = torch.zeros(TOKENS[6], dtype=torch.float64)
    for layer in (1, 2):
        shown = resize_map(maps[layer].float().view(SCHEDULE.grids[5]), SCHEDULE.grids[6])
        total += ((shown - shown.mean()) / shown.std()).flatten()
    index = states[6].kept[0]
    left = torch.ones(TOKENS[6], dtype=torch.bool).index_fill(0, index, False)
    assert len(index) == 128 and total[index].max() <= total[left].min() + 1e-4


@pytest.mark.parametrize(("change", "message"), [
    ({"keep": (4, 3, 4)}, "as many tokens in every layer"),
    ({"keep": (0, 0, 0)}, "at least one"),
    ({"keep": (4, 4, 4), "per": "sublayer", "rule": "variance"}, "per must be 'block'"),
    ({"keep": (4, 4, 4), "guide": (3,)}, "names a layer that is not among the 3"),
    ({"keep": (4, 4, 4), "guide": (1,), "dropped": "cached"}, "for dropped 'exit' and"),
])
def test_what_cannot_be_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScalePlan(**{"grid": (4, 4), "dropped": "exit", **change})


def test_on_another_aspect() -> None:
    schedule = get_schedule("0.666", "0.06M")
    plan = SparsityPlan(
        strategy="exit", model=ModelTag.of(SHAPE), schedule="", scales=tuple(
            ScalePlan(grid=g, dropped="exit" if s == 6 else "identity",
                      keep=(n // 2 if s == 6 else n,) * SHAPE.depth)
            for s, (g, n) in enumerate(zip(schedule.grids, schedule.tokens, strict=True))),
    )
    own = SamplingRun(MODEL, random_text(5), SamplingParams(schedule, PARAMS.cfg, 1.0), plan=plan,
                      generators=seeded(1))
    before = None
    for state in own:
        if state.index == 5:
            before = state.summed_codes.clone()
    assert before is not None
    changed = (own.summed_codes != before).any(1).flatten()
    assert int(changed.sum()) == schedule.tokens[6] // 2

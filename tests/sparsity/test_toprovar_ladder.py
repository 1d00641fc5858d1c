"""Plans inside the run come from a ladder of few."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tests.tiny import random_text, tiny_transformer
from toprovar.models.variants import get_variant
from toprovar.sampling.params import SamplingParams
from toprovar.sampling.run import SamplingRun
from toprovar.schedules import get_schedule
from toprovar.sparsity.cost import Target
from toprovar.sparsity.plan import SparsityPlan
from toprovar.sparsity.strategies.toprovar.in_run import ToProVar
from toprovar.sparsity.strategies.toprovar.ladder import (
    STEPS,
    Rung,
    coarse,
    nearest,
    nearest_profile,
    profiles,
)
from toprovar.sparsity.strategies.toprovar.settings import ToProVarSettings, build_plan, plain_share

MODEL = tiny_transformer()
SCHEDULE = get_schedule("1.0", "0.06M")
PAPER = ToProVarSettings(dropped="identity", start_scale=4, representative_scale=3, tile=1,
                         region=0)


def ladder(variant: str = "2b", pn: str = "1M") -> list[Rung]:
    shape, schedule = get_variant(variant).config, get_schedule("1.0", pn)
    settings = ToProVarSettings(dropped="identity")
    return [
        Rung.of(p, build_plan(settings, shape, schedule, 9, coarse(
            plain_share(settings, p, len(schedule) - 1))))
        for p in profiles(shape.depth, settings)]


def used(settings: ToProVarSettings, seed: int, strategy: ToProVar | None = None) -> SparsityPlan:
    own = SamplingRun(MODEL, random_text(4 + seed), SamplingParams(SCHEDULE, 3.0, 0.7),
                      plan=strategy or ToProVar(settings))
    list(own)
    plan = own.report().used_plan
    assert plan is not None
    return plan


def test_few_profiles_of_global_ends_and_a_detail_middle() -> None:
    found = profiles(32, PAPER)
    assert 6 <= len(found) <= 24 and len(set(found)) == len(found)
    assert any(p[0] == p[-1] == 0 and p[16] == 1 for p in found)
    assert (1.0,) * 32 in found
    assert profiles(32, PAPER.model_copy(update={"dimensions": "scale+token"})) == ((1.0,) * 32,)
    assert all(len(p) == 2 for p in profiles(2, PAPER))
    assert len(profiles(32, PAPER, solved=True)) == 4


def test_counts_lie_on_a_coarse_grid() -> None:
    for rung in ladder():
        for step in rung.plan.scales:
            for n in step.keep:
                share = n * STEPS / step.tokens
                assert n == step.tokens or share - round(share) < 16 * STEPS / step.tokens
        assert len(set(rung.plan.scales[12].keep)) <= 2


def test_the_nearest_that_is_not_dearer() -> None:
    rungs = ladder()
    for asked in rungs:  # a rung asks for itself
        assert (nearest(rungs, asked.kept).kept == asked.kept).all()
    rng = np.random.default_rng(1)
    for _ in range(20):
        asked = np.array(rungs[0].kept) * 1.0
        asked[9:] *= rng.uniform(0.1, 1.0, asked[9:].shape)
        chosen = nearest(rungs, asked)
        fitting = [r for r in rungs if r.kept.sum() <= asked.sum()]
        assert chosen.kept.sum() <= asked.sum() or not fitting
        distance = np.abs(chosen.kept - asked).sum()
        assert all(distance <= np.abs(r.kept - asked).sum() for r in fitting)
    least = min(rungs, key=lambda r: r.kept.sum())
    assert nearest(rungs, np.zeros_like(least.kept)) is least
    level = nearest_profile(rungs, [0.74] * 32)
    assert level.profile == (0.75,) * 32


def test_prompts_share_what_can_be_recorded() -> None:
    """Fewer plans than prompts, the very same object each time; without the ladder one each."""
    strategy = ToProVar(PAPER)
    plans = [used(PAPER, seed, strategy) for seed in range(6)]
    counts = {p.counts for p in plans}
    assert len(counts) <= 3
    for a, b in pairwise(sorted(plans, key=lambda p: p.counts)):
        assert a.counts != b.counts or all(x is y for x, y in zip(a.scales, b.scales, strict=True))
    own = PAPER.model_copy(update={"ladder": False})
    assert len({used(own, seed).counts for seed in range(6)}) > len(counts)
    assert plans[0].parameters["prompt_scores"] != plans[1].parameters["prompt_scores"]
    assert plans[0].provenance == {"planned_after_scale": 3}


@pytest.mark.parametrize("share", [0.8, 0.6, 0.4])
def test_a_target_holds_on_every_rung(share: float) -> None:
    target = Target(share)
    strategy = ToProVar(PAPER, target=target)
    for seed in range(3):
        assert target.cost(used(PAPER, seed, strategy), MODEL.shape) <= share
    for [rungs] in [list(strategy._rungs.values())]:
        assert all(target.cost(r.plan, MODEL.shape) <= share for r in rungs)

"""SkipVAR's policies, fixed and picked inside the run."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tiny import random_text, tiny_autoencoder, tiny_pipeline, tiny_transformer
from toprovar.models.transformer import InfinityTransformer
from toprovar.sampling.bits import ForcedBits
from toprovar.sampling.params import SamplingParams
from toprovar.sampling.run import SamplingRun, ScaleState
from toprovar.schedules import ScaleSchedule, get_schedule
from toprovar.sparsity.plan import SparsityPlan
from toprovar.sparsity.planner import Planner, RunContext, decodes
from toprovar.sparsity.strategies.skipvar.decision import (
    DecisionModel,
    DecisionModels,
    Regression,
    constant,
)
from toprovar.sparsity.strategies.skipvar.features import measure_features, small_codes, vae_decoder
from toprovar.sparsity.strategies.skipvar.policies import SkipVar, skipvar_plan

SCHEDULE = get_schedule("1.0", "0.06M")
WIDE = get_schedule("0.75", "0.06M")
POLICIES = [{}, *({kind: n} for kind in ("skip", "uncond") for n in (1, 2, 3))]


def sample(model: InfinityTransformer, plan: Planner | None,
           params: SamplingParams | None = None, seed: int = 5, **how: Any
           ) -> tuple[SamplingRun, list[ScaleState], Tensor]:
    """The run, its states with sums of their own, and the last sum."""
    if "choose" not in how:
        how["generators"] = torch.Generator().manual_seed(seed)
    run = SamplingRun(model, random_text(5), params or SamplingParams(SCHEDULE, 3.0, 0.7),
                      plan=plan, **how)
    states = []
    for state in run:
        object.__setattr__(state, "summed_codes", state.summed_codes.clone())
        states.append(state)
    return run, states, run.summed_codes


def assert_same(a: list[ScaleState], b: list[ScaleState]) -> None:
    assert [s.index for s in a] == [s.index for s in b]
    for x, y in zip(a, b, strict=True):
        assert torch.equal(x.logits, y.logits) and torch.equal(x.bits, y.bits)


def test_the_official_stops() -> None:
    """Before scale 12, 11, 10 of 13; guidance off from the same scales."""
    shape, schedule = tiny_transformer().shape, get_schedule("1.0", "1M")
    for n, first in ((1, 12), (2, 11), (3, 10)):
        skip, uncond = skipvar_plan(shape, schedule, skip=n), skipvar_plan(shape, schedule, 0, n)
        assert [s.run for s in skip.scales] == [s < first for s in range(13)]
        assert [s.unconditional for s in uncond.scales] == [s < first for s in range(13)]
        assert all(s.unconditional for s in skip.scales) and all(s.run for s in uncond.scales)
        assert not skip.notes and not uncond.notes and not skip.dense


def test_other_schedules_count_from_the_end_and_say_so() -> None:
    plan = skipvar_plan(tiny_transformer().shape, get_schedule("1.333", "0.25M"), skip=2)
    assert [s.run for s in plan.scales] == [True] * 8 + [False] * 2
    assert "13 scales" in plan.notes[0] and "scale 8 is the first that is not run" in plan.notes[0]
    assert SparsityPlan.model_validate_json(plan.model_dump_json()) == plan


@pytest.mark.parametrize(("policy", "message"), [
    ({"skip": 4}, "skip must be 0, 1, 2 or 3, got 4"), ({"uncond": -1}, "uncond must be"),
    ({"skip": 1, "uncond": 2}, "not both"),
])
def test_bad_policies(policy: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        skipvar_plan(tiny_transformer().shape, SCHEDULE, **policy)


def test_a_plan_must_leave_a_scale() -> None:
    one = ScaleSchedule("1.0", "0.06M", ((1, 1), (2, 2)), (64, 64))
    with pytest.raises(ValueError, match="has only 2 scales"):
        skipvar_plan(tiny_transformer().shape, one, skip=2)


@pytest.mark.parametrize("schedule", [SCHEDULE, WIDE], ids=["square", "wide"])
def test_a_plan_that_keeps_everything_is_dense(schedule: ScaleSchedule) -> None:
    model = tiny_transformer()
    params = SamplingParams(schedule, 3.0, 0.7)
    _, dense, codes = sample(model, None, params)
    _, kept, same = sample(model, skipvar_plan(model.shape, schedule), params)
    assert_same(dense, kept)
    assert torch.equal(codes, same)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_stop_ends_with_the_dense_sum_so_far(n: int) -> None:
    model = tiny_transformer()
    _, dense, _ = sample(model, None)
    run, states, codes = sample(model, skipvar_plan(model.shape, SCHEDULE, skip=n))
    assert_same(states, dense[:-n])
    assert torch.equal(codes, dense[-1 - n].summed_codes)
    assert [s.rows for s in run.report().scales] == [2] * (7 - n) + [0] * n


@pytest.mark.parametrize("n", [1, 2, 3])
def test_without_guidance_a_scale_has_the_conditional_logits(n: int) -> None:
    """Under forced bits the conditional row is that of a run with guidance off."""
    model = tiny_transformer()
    _, dense, _ = sample(model, None)
    choose = ForcedBits([s.bits for s in dense])
    run, states, _ = sample(model, skipvar_plan(model.shape, SCHEDULE, uncond=n), choose=choose)
    _, plain, _ = sample(model, None, SamplingParams(SCHEDULE, 1.0, 0.7), choose=choose)
    assert_same(states[:-n], dense[:-n])
    for found, expected, guided in zip(states[-n:], plain[-n:], dense[-n:], strict=True):
        torch.testing.assert_close(found.logits, expected.logits, atol=1e-5, rtol=1e-5)
        assert (found.logits - guided.logits).abs().max() > 0.05
    assert [s.rows for s in run.report().scales] == [2] * (7 - n) + [1] * n


def test_random_draws_do_not_depend_on_the_policy() -> None:
    """Where guidance is off anyway, dropping its row leaves logits, draws and so bits alike. (That
    a stop changes no draw before it is tested above.)"""
    model = tiny_transformer()
    params = SamplingParams(SCHEDULE, (3.0,) * 5 + (1.0,) * 2, 0.7)
    _, dense, _ = sample(model, None, params)
    _, states, _ = sample(model, skipvar_plan(model.shape, SCHEDULE, uncond=2), params)
    for a, b in zip(dense, states, strict=True):
        torch.testing.assert_close(a.logits, b.logits, atol=1e-5, rtol=1e-5)
        assert (a.bits != b.bits).float().mean() < 1e-3


def director(model: DecisionModel | DecisionModels, **how: Any) -> SkipVar:
    return SkipVar(model, vae_decoder(tiny_autoencoder()), **how)


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@pytest.mark.parametrize("schedule", [SCHEDULE, WIDE], ids=["square", "wide"])
def test_the_run_that_decides_equals_the_policy_it_picked(
    policy: dict[str, int], schedule: ScaleSchedule
) -> None:
    model = tiny_transformer()
    params = SamplingParams(schedule, 3.0, 0.7)
    _, fixed, codes = sample(model, skipvar_plan(model.shape, schedule, **policy), params)
    run, states, found = sample(model, director(DecisionModel.always(**policy)), params)
    assert_same(states, fixed)
    assert torch.equal(found, codes)
    plan = run.plan_state.plan
    assert {k: v for k, v in plan.parameters.items() if v and k in ("skip", "uncond")} == policy
    # The features are those of the sums before and after scale 3, at the size of scale 4.
    old, new = (small_codes(states[s].summed_codes, schedule.grids[4]) for s in (2, 3))
    [features] = measure_features(old, new, tiny_autoencoder().decode)
    assert (plan.parameters["diff_hf"], plan.parameters["hf_ratio"]) == features.values()
    assert f"diff_hf {features.diff_hf:.4f}" in plan.notes[-1] and "scale 3" in plan.notes[-1]
    assert plan.predicted is not None
    assert (plan.predicted.token_layer_share < 1) == bool(policy)


def test_only_a_run_that_decides_needs_the_autoencoder() -> None:
    assert decodes(director(DecisionModel.always()))
    assert not decodes(skipvar_plan(tiny_transformer().shape, SCHEDULE, skip=1))


def test_patches_are_unfolded_before_they_are_looked_at() -> None:
    """Two latent pixels a token: the small pictures are twice as wide."""
    sizes = []
    vae = tiny_autoencoder(latent_channels=4, stride=8, channel_multipliers=(1, 2))

    def decode(codes: Tensor) -> Tensor:
        sizes.append(tuple(codes.shape))
        return vae.decode(codes)

    model = tiny_transformer(bits_per_token=16, spatial_patchify=True)
    plan = SkipVar(DecisionModel.always(skip=1), decode)
    run, states, _ = sample(model, plan)
    assert sizes == [(1, 4, 16, 16)] * 2 and len(states) == 6
    assert run.plan_state.plan.parameters["skip"] == 1


def test_nothing_is_settled_before_the_decision() -> None:
    session = director(DecisionModel.always(skip=3)).start(
        RunContext(tiny_transformer().shape, SCHEDULE))
    codes = torch.randn(1, 8, 16, 16)
    assert [session.horizon(s) for s in range(4)] == [3] * 4 and session.plan.dense
    session.after(2, codes)
    assert session.horizon(3) == 3
    session.after(3, codes * 1.5)
    assert session.horizon(4) == 6 and session.plan.compiled.last_run == 3


def test_too_few_scales_are_all_run() -> None:
    short = ScaleSchedule("1.0", "0.06M", SCHEDULE.grids[:5], (64, 64))
    run, states, _ = sample(tiny_transformer(), director(DecisionModel.always(skip=3)),
                            SamplingParams(short, 3.0, 0.7))
    assert len(states) == 5 and run.plan_state.plan.dense
    assert "decides nothing on 5 scales" in run.report().notes[0]


def test_without_guidance_there_is_none_to_drop() -> None:
    run, _, _ = sample(tiny_transformer(), director(DecisionModel.always(uncond=2)),
                       SamplingParams(SCHEDULE, 1.0, 0.7))
    assert run.plan_state.plan.dense
    assert any("this run has none" in note for note in run.report().notes)


def test_models_of_other_weights_and_sizes_are_used_with_a_note() -> None:
    always = DecisionModel.always(skip=1)
    models = DecisionModels({pn: always.model_copy(update={"pn": pn, "model": "other"})
                             for pn in ("0.25M", "1M")})
    run, states, _ = sample(tiny_transformer(), director(models))
    assert len(states) == 6
    notes = " ".join(run.report().notes)
    assert "fitted at 0.25M, used at 0.06M" in notes and "other weights (other" in notes


def test_images_of_a_batch_decide_each_for_itself() -> None:
    """Through the pipeline, with a threshold between the two images' features."""
    pipeline = tiny_pipeline()
    prompts, decode = ["a red apple", "two cat and dog"], vae_decoder(pipeline.vae)

    def strategy(skip: Regression) -> SkipVar:
        return SkipVar(DecisionModel(skip=skip, uncond=constant(2)), decode)

    def features(prompt: str, seed: int) -> float:
        report = pipeline(prompt, seed=seed, plan=strategy(constant(0))).report
        return report.used_plan.parameters["diff_hf"]

    low, high = sorted(features(p, 3 + i) for i, p in enumerate(prompts))
    assert low < high
    between = Regression(classes=(0, 3), coef=((1.0,),), intercept=(0.0,),
                         scaler_mean=((low + high) / 2,), scaler_scale=(high - low,))
    plan = strategy(between)
    both = pipeline(prompts, seed=3, plan=plan, output_type="latent")
    skips = [r.used_plan.parameters["skip"] for r in both.reports]
    assert sorted(skips) == [0, 3]
    for i, prompt in enumerate(prompts):
        alone = pipeline(prompt, seed=3 + i, plan=plan, output_type="latent")
        assert torch.equal(alone.images[0], both.images[i])
        assert alone.report.used_plan == both.reports[i].used_plan

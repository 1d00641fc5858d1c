"""Branches of one run: bit for bit the runs of their own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.random_shortcuts import random_shortcuts
from tests.tiny import random_text, tiny_transformer
from toprovar.analysis.choices import State, choice_plan
from toprovar.analysis.probes import WAYS, probe_plan, sparing_plan
from toprovar.entropy.trace import TraceRecorder
from toprovar.models.fingerprint import model_fingerprint
from toprovar.sampling import workspace
from toprovar.sampling.branches import BranchingRun, left_for, step_keys
from toprovar.sampling.params import EngineOptions, SamplingParams
from toprovar.sampling.run import LayerProbe, SamplingRun
from toprovar.schedules import get_schedule
from toprovar.sparsity.leaving import leaving
from toprovar.sparsity.linear_shortcut import INPUT, LinearShortcut
from toprovar.sparsity.plan import SparsityPlan, dense_plan
from toprovar.sparsity.shortcuts import register_shortcuts
from toprovar.sparsity.strategies.ldpruning import LdPruningSettings, ldpruning_plan

SCHEDULE = get_schedule("1.0", "0.06M")
MODEL = tiny_transformer()
SHAPE = MODEL.shape
PARAMS = SamplingParams(SCHEDULE, 3.0, 0.7)
MAPS = random_shortcuts(model_fingerprint(MODEL), SHAPE, [
    LinearShortcut(source, scale, n) for n in (1, 2)
    for source, scale in ((3, 4), (4, 5), (5, 6), (3, 5), (4, 6))])
LEAVES = left_for(MAPS, len(SCHEDULE))


@pytest.fixture(scope="module")
def plans() -> list[SparsityPlan]:
    """Of every kind that leaves something to later scales, and that draws on what earlier left."""
    register_shortcuts(MAPS)
    states = [State(7), State(5), State(5, (5,)), State(7, (4, 6)), State(7, (), ((6, 1),)),
              State(6, (), ((5, 1), (6, 2))), State(6, (5,), ((6, 1),)), State(3, (5, 6))]
    found = [choice_plan(SHAPE, SCHEDULE, *state, identity=MAPS.identity) for state in states]
    found += [probe_plan(SHAPE, SCHEDULE, start, 0.5, way) for way in WAYS for start in (4, 6)]
    pair = State(6, (), ((6, 1),)), State(6, (), ((6, 2),))
    found += [sparing_plan(SHAPE, SCHEDULE, pair, 0.5, rule, (), MAPS.identity)
              for rule in ("entropy", "random")]
    found.append(ldpruning_plan(SHAPE, SCHEDULE, LdPruningSettings()))
    return found


def alone(plan: SparsityPlan, seeds: tuple[int, ...], **how: Any) -> Tensor:
    run = SamplingRun(MODEL, random_text(5, 3), PARAMS, plan=plan, **how,
                      generators=[torch.Generator().manual_seed(s) for s in seeds])
    for _ in run:
        pass
    return run.summed_codes


@pytest.mark.parametrize("options", [None, EngineOptions(fused=True)], ids=["plain", "fused"])
def test_branches_are_runs_of_their_own(plans: list[SparsityPlan],
                                        options: EngineOptions | None) -> None:
    run = BranchingRun(MODEL, random_text(5, 3), PARAMS, leaves=LEAVES, options=options,
                       generators=[torch.Generator().manual_seed(s) for s in (1, 2)])
    order: list[int] = []
    for numbers in (range(len(plans)), [*reversed(range(len(plans)))]):  # and once more
        for i, codes in run.draw([plans[n] for n in numbers]):
            order.append(numbers[i])
            assert torch.equal(codes, alone(plans[numbers[i]], (1, 2), options=options)), numbers[i]
    assert sorted(order) == sorted([*range(len(plans))] * 2)
    assert run.shared.alone > 1.3 * run.shared.run > 0


def test_scales_that_plans_begin_with_are_run_once(plans: list[SparsityPlan]) -> None:
    run = BranchingRun(MODEL, random_text(4), PARAMS, leaves=LEAVES,
                       generators=[torch.Generator().manual_seed(1)])
    for _ in run.draw(plans[:2]):  # guided in 7 and in 5 scales
        pass
    assert run.shared.scales == 5 + 2 * 2
    assert run.shared.run == sum(SCHEDULE.tokens) + sum(SCHEDULE.tokens[5:])
    assert run.shared.alone == 2 * sum(SCHEDULE.tokens)
    times = run.seconds()
    for plan in plans[:2]:
        assert all(times[key] > 0 for key in step_keys(plan, LEAVES))
    assert len(times) == 9


def test_what_scales_leave_is_the_residual(plans: list[SparsityPlan]) -> None:
    seen: dict[tuple[int, int], Tensor] = {}

    class Probe(LayerProbe):
        def block_input(self, scale: int, layer: int, x: Tensor) -> None:
            if layer == 0:
                seen[scale, INPUT] = x.clone()

        def block_output(self, scale: int, layer: int, x: Tensor) -> None:
            seen[scale, layer] = x.clone()

    list(SamplingRun(MODEL, random_text(4), PARAMS, probe=Probe(),
                     generators=[torch.Generator().manual_seed(1)]))
    places = {(s, n) for s in (4, 6) for n in (INPUT, 0, 2)}
    run = BranchingRun(MODEL, random_text(4), PARAMS, leaves=places,
                       generators=[torch.Generator().manual_seed(1)])
    for _ in run.draw([plans[0]]):
        for scale, layer in places:
            found, grid = run.residual(scale, layer)
            assert grid == SCHEDULE.grids[scale]
            torch.testing.assert_close(found, seen[scale, layer])
    with pytest.raises(KeyError):
        run.residual(5, 0)


def test_leaving_changes_what_stays_and_nothing_else() -> None:
    plan = dense_plan(SHAPE, SCHEDULE)
    own = leaving(plan, {(4, 1), (4, INPUT)})
    assert own == plan and not plan.compiled.left
    assert own.compiled.where("passed_on") == {(4, 1), (4, INPUT)}
    assert own.compiled.needed_after(6, 1).residuals == {4}
    assert own.compiled.needed_after(3, 1).residuals == set()
    assert own.model_copy(update={"scales": own.scales}).compiled.left == frozenset()


def test_entropies_of_a_branching_run_are_those_of_a_run() -> None:
    first, second = TraceRecorder(), TraceRecorder()
    run = BranchingRun(MODEL, random_text(4), PARAMS, watch=first,
                       generators=[torch.Generator().manual_seed(1)])
    for _ in run.draw([dense_plan(SHAPE, SCHEDULE)]):
        pass
    list(SamplingRun(MODEL, random_text(4), PARAMS, watch=second,
                     generators=[torch.Generator().manual_seed(1)]))
    assert first.maps.keys() == second.maps.keys() and first.maps
    assert all(torch.equal(first.maps[place], second.maps[place]) for place in first.maps)


def test_an_interrupt_leaves_the_run_as_it_was(plans: list[SparsityPlan]) -> None:
    calls = [0]

    def check() -> None:
        calls[0] += 1
        if calls[0] == 25:
            raise KeyboardInterrupt

    run = BranchingRun(MODEL, random_text(5, 3), PARAMS, leaves=LEAVES, check=check,
                       generators=[torch.Generator().manual_seed(s) for s in (1, 2)])
    with pytest.raises(KeyboardInterrupt):
        for _ in run.draw(plans):
            pass
    for i, codes in run.draw(plans[:3]):
        assert torch.equal(codes, alone(plans[i], (1, 2)))


def test_a_plan_of_another_size_is_refused() -> None:
    run = BranchingRun(MODEL, random_text(4), PARAMS, generators=[torch.Generator()])
    with pytest.raises(ValueError, match="was made for the schedule"):
        next(run.draw([dense_plan(SHAPE, get_schedule("1.0", "0.25M"))]))


def test_branches_replay_recorded_scales(plans: list[SparsityPlan], device: str) -> None:
    """On a tape, or as CUDA graphs: new prompts and seeds on scales that were recorded before."""
    model = tiny_transformer()
    nn.Module.to(model, device)
    try:
        for seed, length, replays in ((1, 5, False), (2, 3, False), (3, 6, True)):
            run = BranchingRun(
                model, random_text(length, seed=seed).to(device), PARAMS, leaves=LEAVES,
                generators=[torch.Generator().manual_seed(seed)],
                options=EngineOptions(graphs=True, fused=True))
            for i, codes in run.draw(plans):
                alone = SamplingRun(
                    model, random_text(length, seed=seed).to(device), PARAMS, plan=plans[i],
                    generators=[torch.Generator().manual_seed(seed)],
                    options=EngineOptions(graphs=False, fused=True))
                for _ in alone:
                    pass
                torch.testing.assert_close(codes, alone.summed_codes)
            assert run.replayed == (run.shared.scales if replays else run.replayed)
            run.release()
    finally:
        workspace.release(model)

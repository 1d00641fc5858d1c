"""Which choices are found, and on how many pictures, for likenesses that are made up."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from tests.sparsity.test_shortcuts import FITTED, maps
from tests.sparsity.test_toprovar import SCHEDULE, SHAPE
from toprovar.analysis.choices import LEAST_SAVED, State, cost_of
from toprovar.analysis.drawing import OutOfTimeError
from toprovar.analysis.intervals import half_width, paired
from toprovar.analysis.race import Race
from toprovar.sparsity.plan import SparsityPlan
from toprovar.sparsity.shortcuts import Shortcuts

Lost = Callable[[SparsityPlan], float]


def race(lost: Lost, shortcuts: Shortcuts | None = None, noise: float = 0.0
         ) -> tuple[Race, list[tuple[SparsityPlan, int]]]:
    """A race over these likenesses, and what it has drawn. The noise is partly that of a picture,
    alike for all plans."""
    asked: list[tuple[SparsityPlan, int]] = []

    def compare(plans: Sequence[SparsityPlan], number: int) -> list[tuple[float, float]]:
        found = []
        for plan in plans:
            asked.append((plan, number))
            own = random.Random(f"{number} {plan.scales}")
            value = 1 - lost(plan) * (1 + noise * (random.Random(number).random() - 0.5)) \
                + noise * 0.1 * (own.random() - 0.5)
            found.append((value, (1 + value) / 2))
        return found

    return Race(SHAPE, SCHEDULE, compare, 64, shortcuts), asked


def plain(plan: SparsityPlan) -> float:
    """Guidance costs nothing and the last scale everything."""
    lost = 0.5 * (not plan.scales[6].run) + 0.2 * (not plan.scales[4].run)
    return lost + 0.1 * (not plan.scales[5].run)


def test_the_step_that_loses_least_for_what_it_saves_is_taken() -> None:
    found, asked = race(plain)
    found.round(1)
    keys = {(s.guided, s.skipped) for s in found.tried}
    assert len(asked) == len(found.tried)
    # Guidance goes first; then the middle, at last the end.
    fewest = min(g for g, _ in keys)
    assert {(fewest, (5,)), (fewest, (4, 5)), (fewest, (4, 5, 6))} <= keys
    assert (7, (4, 5)) not in keys
    assert found.tried[State(fewest, (5,))] == [(0.9, 0.95)]


def test_steps_that_save_next_to_nothing_are_passed_over() -> None:
    found, _ = race(plain)
    found.round(1)
    costs = [cost_of(SHAPE, SCHEDULE, s) for s in [State(7), *found.tried]]
    guided = sorted({s.guided for s in found.tried if not s.skipped} | {7})
    for few, more in itertools.pairwise(guided):
        saved = cost_of(SHAPE, SCHEDULE, State(more)) - cost_of(SHAPE, SCHEDULE, State(few))
        assert saved >= LEAST_SAVED
    assert min(costs) < 0.15


def test_choices_with_shortcuts_are_tried_from_the_last_scale_on() -> None:
    """Longer shortcuts lose more; each is tried only where the scales after it skip as much."""
    def lost(plan: SparsityPlan) -> float:
        lost = sum(0.01 * s.shortcut + 0.2 * (not s.run) for s in plan.scales)
        return lost + 0.3 * sum(not s.unconditional for s in plan.scales)

    found, asked = race(lost, maps())
    found.round(1)
    assert any(s.shortcuts == ((6, 1),) for s in found.tried)
    assert any(s.shortcuts == ((5, 2), (6, 2)) for s in found.tried)
    for state in found.tried:
        own = dict(state.shortcuts)
        lengths = [own[s] for s in sorted(own) if s not in state.skipped]
        assert lengths == sorted(lengths) and not set(own) & set(state.skipped)
        if own and 6 not in state.skipped:
            assert 6 in own
        assert state.linear_shortcuts <= set(FITTED)
    assert {plan.shortcuts for plan, _ in asked} == {None, maps().identity}
    without, _ = race(lost)
    without.round(1)
    assert not any(s.shortcuts for s in without.tried)


def test_choices_take_only_shortcuts_that_there_are() -> None:
    """No shortcut over a scale is at hand: then none is skipped before one that has a shortcut."""
    def lost(plan: SparsityPlan) -> float:
        lost = sum(0.001 * s.shortcut + 0.1 * (not s.run) for s in plan.scales)
        return lost + 0.3 * sum(not s.unconditional for s in plan.scales)

    few = [shortcut for shortcut in FITTED if shortcut.scale - shortcut.source == 1]
    found, _ = race(lost, maps(*few))
    found.round(1)
    assert any(state.skipped and state.shortcuts for state in found.tried)
    assert all(state.linear_shortcuts <= set(few) for state in found.tried)


def test_guidance_ends_earlier_from_the_best_choices() -> None:
    """Where each step down prefers shortcuts, choices that have both are tried all the same."""
    def lost(plan: SparsityPlan) -> float:
        lost = sum(0.001 * s.shortcut + 0.2 * (not s.run) for s in plan.scales)
        # The first scale without guidance costs much, the next ones nothing.
        return lost + 0.02 * any(not s.unconditional for s in plan.scales)

    found, _ = race(lost, maps())
    found.round(1)
    both = ((5, 2), (6, 2))
    guided = {s.guided for s in found.tried if s.shortcuts == both and not s.skipped}
    assert {7, 6, 5} <= guided and min(guided) <= 4


def test_a_round_draws_the_frontier_on_all_pictures_and_the_rest_on_few() -> None:
    found, asked = race(plain, maps(), noise=0.1)
    found.round(8)
    counts = Counter(len(values) for values in found.tried.values())
    assert set(counts) <= {2, 4, 8} and counts[2] > 0
    assert all(len(found.tried[s]) == 8 for s in found.frontier())
    assert len(asked) == sum(n * many for n, many in counts.items())
    before = len(asked)
    found.round(8)  # all is known
    assert len(asked) == before
    assert [p for _, p in asked[:1]] == [0]


def test_more_pictures_mend_a_wrong_choice() -> None:
    """On the first picture skipping scale 4 seems to cost nothing; on all others it is the
    dearest."""
    def compare(plans: Sequence[SparsityPlan], number: int) -> list[tuple[float, float]]:
        values = [1 - (0.0 if number == 0 else 0.4) * (not p.scales[4].run)
                  - 0.1 * (not p.scales[5].run) - 0.5 * (not p.scales[6].run)
                  - 0.05 * sum(not s.unconditional for s in p.scales) for p in plans]
        return [(v, v) for v in values]

    found = Race(SHAPE, SCHEDULE, compare, 64)
    found.round(1)
    assert 4 in found.frontier(1)[-1].skipped
    for pictures in (2, 4, 8):
        found.round(pictures)
    best = [s for s in found.frontier(8) if found.cost(s) > 0.5]
    assert best and all(4 not in s.skipped for s in best)


def test_it_is_settled_when_pictures_agree() -> None:
    steady, _ = race(plain)
    shaky, _ = race(plain, noise=1.0)
    for one in (steady, shaky):
        one.round(1)
        assert not one.settled(1)
        one.round(4)
    assert steady.settled(4) and not shaky.settled(4)


def test_what_was_measured_stays_when_time_is_over() -> None:
    left = [9]

    def compare(plans: Sequence[SparsityPlan], number: int) -> list[tuple[float, float]]:
        left[0] -= len(plans)
        if left[0] < 0:
            raise OutOfTimeError
        return [(1 - plain(p), 1.0) for p in plans]

    found = Race(SHAPE, SCHEDULE, compare, 64)
    with pytest.raises(OutOfTimeError):
        found.round(4)
    assert 0 < len(found.tried) <= 9
    again, asked = race(plain)
    again.tried.update(found.tried)
    again.round(1)
    drawn = {plan.scales for plan, _ in asked}
    assert not drawn & {again.plan(state).scales for state in found.tried}


def test_intervals_are_students() -> None:
    assert half_width([1.0]) == math.inf and half_width([2.0, 2.0]) == 0
    # scipy.stats.t.interval(0.95, 4, scale=sem([1, 2, 3, 4, 5])) = 3 ± 1.9632
    assert half_width([1, 2, 3, 4, 5]) == pytest.approx(1.9632, abs=1e-3)
    # t(0.975, 39) = 2.0227
    many = [float(n % 2) for n in range(40)]
    assert half_width(many) == pytest.approx(2.0227 * 0.50637 / 40**0.5, rel=2e-3)
    mean, half = paired([1.0, 2.0, 3.0, 9.0], [0.5, 1.5, 2.5])
    assert mean == 0.5 and half == 0

"""What running fewer scales, and fewer with guidance, does to pictures: measured, step by step.

From the dense run on, every single step further down is tried (guidance ends one scale earlier, one
more scale is not run, or a shortcut leaves out more layers of one), and the one that loses least
for what it saves is taken. Shortcuts save so much for what they lose that this way keeps guidance
long; so, from each choice that is the best for its cost, guidance ends earlier still. All that was
tried is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import NamedTuple

from torch import Tensor

from ..entropy.schedule_entry import Choice
from ..models.config import TransformerConfig
from ..schedules import ScaleSchedule
from ..sparsity.cost import count
from ..sparsity.linear_shortcut import LinearShortcut
from ..sparsity.plan import ModelTag, ScalePlan, SparsityPlan, schedule_name
from ..sparsity.shortcuts import Shortcuts

LEAST_COST = 0.05
"""Share of the dense FLOPs at which the descent ends."""
HOPELESS = 0.02
"""Likeness below the best of what costs no more, at which ending guidance earlier is given up."""
LEAST_GUIDED = 2
"""Scales that always run with guidance: they fix what is shown, and cost nothing."""
SKIPPABLE = 5
"""Scales at the end that may be left out."""

Measure = Callable[[SparsityPlan], tuple[Tensor, Tensor]]
"""A plan -> likeness and SSIM of every picture, [P] each."""


class State(NamedTuple):
    """Guided scales; skipped scales; (scale, layers its shortcut leaves out)."""

    guided: int
    skipped: tuple[int, ...] = ()
    shortcuts: tuple[tuple[int, int], ...] = ()

    @staticmethod
    def of(choice: Choice) -> State:
        return State(choice.guided, choice.skipped, choice.shortcuts)

    def without(self, scale: int) -> State:
        """The same with ``scale`` skipped."""
        return State(self.guided, tuple(sorted({*self.skipped, scale})),
                     tuple((s, n) for s, n in self.shortcuts if s != scale))

    @property
    def linear_shortcuts(self) -> frozenset[LinearShortcut]:
        """The shortcuts that it takes, each from the latest scale before that is run."""
        return frozenset(
            LinearShortcut(max(s for s in range(scale) if s not in self.skipped), scale, length)
            for scale, length in self.shortcuts)


def explore(shape: TransformerConfig, schedule: ScaleSchedule, measure: Measure,
            fewest_tokens: int, shortcuts: Shortcuts | None = None) -> tuple[Choice, ...]:
    """Try choices from the dense run downwards.

    Args:
        measure: draws the pictures of a plan.
        fewest_tokens: smaller scales are always run, in full.
        shortcuts: of the model; None = try none.
    """
    linear_shortcuts = frozenset(shortcuts.maps) if shortcuts else frozenset()
    identity = shortcuts.identity if shortcuts else None
    state = State(len(schedule))
    tried: dict[State, Choice] = {state: Choice(guided=state.guided, likeness=1.0, ssim=1.0)}

    def look(after: State) -> Choice:
        if after not in tried:
            likeness, ssim = measure(choice_plan(shape, schedule, *after, identity=identity))
            tried[after] = Choice(**after._asdict(), likeness=round(float(likeness.mean()), 5),
                                  ssim=round(float(ssim.mean()), 5))
        return tried[after]

    @cache
    def cost(of: State) -> float:
        return cost_of(shape, schedule, of)

    def best_for(most: float) -> float:
        return max((known.likeness for other, known in tried.items() if cost(other) <= most),
                   default=0.0)

    while True:
        here, paid = tried[state], cost(state)
        if paid <= LEAST_COST:
            break
        steps: dict[State, float] = {}
        for after in _steps(schedule, state, fewest_tokens, linear_shortcuts):
            saved = paid - cost(after)
            steps[after] = (here.likeness - look(after).likeness) / saved
        if not steps:
            break
        state = min(steps, key=lambda s: steps[s])
    best = [state for state, known in tried.items()
            if known.likeness >= best_for(cost(state))]
    for state in best if linear_shortcuts else ():
        for after in _less_guided(state):
            likeness = look(after).likeness
            if cost(after) <= LEAST_COST or likeness < best_for(cost(after)) - HOPELESS:
                break
    return tuple(sorted(tried.values(), key=lambda c: -c.likeness))


def most_choices(schedule: ScaleSchedule, fewest_tokens: int, lengths: int = 0) -> int:
    """An upper bound of the plans that :func:`explore` draws.

    Args:
        lengths: how many lengths of shortcuts there are.
    """
    many = len(skippable(schedule, fewest_tokens))
    wide = sum(n >= fewest_tokens for n in schedule.tokens[1:]) if lengths else 0
    way = len(schedule) + many + wide * lengths
    found = way * (1 + many + wide)
    return found * (1 + len(schedule)) if lengths else found


def choice_plan(shape: TransformerConfig, schedule: ScaleSchedule, guided: int,
                skipped: tuple[int, ...] = (), shortcuts: tuple[tuple[int, int], ...] = (), *,
                identity: str | None = None) -> SparsityPlan:
    """All tokens of the scales that are not skipped; guidance at the first ``guided`` scales.

    Args:
        shortcuts: (scale, layers to leave out); identity: of their maps.
    """
    passed = dict(shortcuts)
    scales = tuple(
        ScalePlan(grid=grid, run=s not in skipped, unconditional=s < guided,
                  shortcut=passed.get(s, 0),
                  keep=(0,) * passed.get(s, 0) + (n,) * (shape.depth - passed.get(s, 0)))
        for s, (grid, n) in enumerate(zip(schedule.grids, schedule.tokens, strict=True))
    )
    return SparsityPlan(strategy="choice", model=ModelTag.of(shape),
                        schedule=schedule_name(schedule), scales=scales,
                        shortcuts=identity if passed else None)


def mixing_gain(
    shape: TransformerConfig, schedule: ScaleSchedule, choices: Sequence[Choice], measure: Measure,
    identity: str, guide: tuple[int, ...] = (),
) -> float:
    """How much better than half-way between two choices it is to let half the tokens of the last
    scale, by entropy, take the longer shortcut: as a share of what lies between the choices.

    Args:
        choices: measured; the pair whose shortcuts differ most is taken, the dearest of these.
        guide: layers whose maps choose.
    """
    last = len(schedule) - 1
    by_state = {State.of(c): c for c in choices}
    pairs = []
    for state, choice in by_state.items():
        short = dict(state.shortcuts).get(last, 0)
        for other, below in by_state.items():
            long = dict(other.shortcuts).get(last, 0)
            same = other._replace(shortcuts=()) == state._replace(shortcuts=()) and \
                {**dict(other.shortcuts), last: 0} == {**dict(state.shortcuts), last: 0}
            if same and long > short > 0 and last not in state.skipped \
                    and choice.likeness > below.likeness:
                pairs.append((long - short, choice.likeness, state, long, below.likeness))
    if not pairs:
        return 0.0
    _, likeness, state, long, below_likeness = max(pairs, key=lambda p: p[:2])
    plan = choice_plan(shape, schedule, *state, identity=identity)
    step = plan.scales[last]
    half = tuple(step.tokens // 2 if step.shortcut <= n < long else k
                 for n, k in enumerate(step.keep))
    mixed = step.model_copy(update={"keep": half, "dropped": "shortcut", "guide": guide})
    plan = SparsityPlan.model_validate(plan.model_dump() | {
        "scales": (*plan.scales[:last], ScalePlan.model_validate(mixed.model_dump()))})
    found = float(measure(plan)[0].mean())
    gap = likeness - below_likeness
    return round(min(max((found - (likeness + below_likeness) / 2) / gap, 0.0), 0.5), 4)


def cost_of(shape: TransformerConfig, schedule: ScaleSchedule, state: State) -> float:
    """Share of the dense FLOPs."""
    return count(choice_plan(shape, schedule, *state, identity=""), shape).flop_share


def skippable(schedule: ScaleSchedule, fewest_tokens: int) -> list[int]:
    """Scales that may be left out."""
    count_ = len(schedule)
    return [s for s in range(max(1, count_ - SKIPPABLE), count_)
            if schedule.tokens[s] >= fewest_tokens]


def _less_guided(state: State) -> Iterator[State]:
    """The same with guidance ending one scale earlier, two scales, and so on."""
    for fewer in range(state.guided - 1, LEAST_GUIDED - 1, -1):
        if fewer not in state.skipped:  # it would save nothing
            yield state._replace(guided=fewer)


def _steps(schedule: ScaleSchedule, state: State, fewest_tokens: int,
           linear_shortcuts: frozenset[LinearShortcut]
           ) -> Iterator[State]:
    yield from islice(_less_guided(state), 1)
    for scale in skippable(schedule, fewest_tokens):
        if scale not in state.skipped:
            after = state.without(scale)
            if after.linear_shortcuts <= linear_shortcuts:
                yield after
    lengths = sorted({shortcut.length for shortcut in linear_shortcuts})
    known, most = dict(state.shortcuts), max(lengths, default=0)
    for scale in reversed(range(1, len(schedule))):
        if scale in state.skipped or schedule.tokens[scale] < fewest_tokens:
            continue
        longer = next((n for n in lengths if n > known.get(scale, 0)), None)
        if longer is not None and longer <= most:
            after = state._replace(shortcuts=tuple(sorted({**known, scale: longer}.items())))
            if after.linear_shortcuts <= linear_shortcuts:
                yield after
        # Layers whose keys an earlier scale did not leave are not run later on.
        most = min(most, known.get(scale, 0))

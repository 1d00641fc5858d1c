"""What can be left out of a run: scales, guidance of scales, and first layers by shortcuts.

A choice says which. From each there are steps further down: guidance ends one scale earlier, one
more scale is not run, or a shortcut leaves out more layers of one. ``race`` finds the choices that
are worth their cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from ..entropy.schedule_entry import Choice
from ..models.config import TransformerConfig
from ..schedules import ScaleSchedule
from ..sparsity.cost import count
from ..sparsity.linear_shortcut import LinearShortcut
from ..sparsity.plan import ModelTag, ScalePlan, SparsityPlan, schedule_name

LEAST_COST = 0.05
"""Share of the dense FLOPs at which the descent ends."""
HOPELESS = 0.02
"""Likeness below the best of what costs no more, at which ending guidance earlier is given up."""
LEAST_SAVED = 0.01
"""Share of the dense FLOPs that a step must save to be worth a picture."""
LEAST_GUIDED = 2
"""Scales that always run with guidance: they fix what is shown, and cost nothing."""
SKIPPABLE = 5
"""Scales at the end that may be left out."""


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


def cost_of(shape: TransformerConfig, schedule: ScaleSchedule, state: State) -> float:
    """Share of the dense FLOPs."""
    return count(choice_plan(shape, schedule, *state, identity=""), shape).flop_share


def skippable(schedule: ScaleSchedule, fewest_tokens: int) -> list[int]:
    """Scales that may be left out."""
    count_ = len(schedule)
    return [s for s in range(max(1, count_ - SKIPPABLE), count_)
            if schedule.tokens[s] >= fewest_tokens]


def less_guided(state: State) -> Iterator[State]:
    """The same with guidance ending one scale earlier, two scales, and so on."""
    for fewer in range(state.guided - 1, LEAST_GUIDED - 1, -1):
        if fewer not in state.skipped:  # it would save nothing
            yield state._replace(guided=fewer)


def steps_from(schedule: ScaleSchedule, state: State, fewest_tokens: int,
               linear_shortcuts: frozenset[LinearShortcut], pays: Callable[[State], bool]
               ) -> Iterator[State]:
    """The single steps further down.

    Args:
        fewest_tokens: smaller scales are always run, in full.
        linear_shortcuts: those that there are.
        pays: whether a state saves enough against ``state``; where it does not, the next step in
            the same direction is taken.
    """
    yield from islice(filter(pays, less_guided(state)), 1)
    for scale in skippable(schedule, fewest_tokens):
        if scale not in state.skipped:
            after = state.without(scale)
            if after.linear_shortcuts <= linear_shortcuts and pays(after):
                yield after
    lengths = sorted({shortcut.length for shortcut in linear_shortcuts})
    known, most = dict(state.shortcuts), max(lengths, default=0)
    for scale in reversed(range(1, len(schedule))):
        if scale in state.skipped or schedule.tokens[scale] < fewest_tokens:
            continue
        longer = (state._replace(shortcuts=tuple(sorted({**known, scale: n}.items())))
                  for n in lengths if known.get(scale, 0) < n <= most)
        yield from islice((after for after in longer
                           if after.linear_shortcuts <= linear_shortcuts and pays(after)), 1)
        # Layers whose keys an earlier scale did not leave are not run later on.
        most = min(most, known.get(scale, 0))

"""Which choices are worth their cost: found by few pictures first, then by more of the better ones.

A round goes down from the dense run (``choices``): of all single steps the one is taken that loses
least likeness for what it saves. Steps are compared on few pictures first; those that are worse
beyond chance, and the worse half, are not drawn on more (successive halving). All comparisons are
between the same pictures. At the end of a round every choice that may be the best for its cost has
been drawn on all pictures of the round, so that their means can be compared. The next round has
twice as many pictures, and decides again where the first was in doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from statistics import fmean

from ..models.config import TransformerConfig
from ..schedules import ScaleSchedule
from ..sparsity.linear_shortcut import LinearShortcut
from ..sparsity.plan import SparsityPlan
from ..sparsity.shortcuts import Shortcuts
from .choices import (
    HOPELESS,
    LEAST_COST,
    LEAST_SAVED,
    State,
    choice_plan,
    cost_of,
    less_guided,
    steps_from,
)
from .drawing import Alike
from .intervals import half_width, paired

SETTLED = 0.003
"""Half-width of likeness from which on the choices of a frontier are known well enough."""
USED = 0.7
"""Likeness from which on plans are of use."""
FIRST_SHARE = 4
"""A round's comparisons begin with one in so many of its pictures."""

Compare = Callable[[Sequence[SparsityPlan], int], list[Alike]]
"""Plans and the number of a picture -> likeness and SSIM to the dense picture."""


class Race:
    """The choices of one schedule.

    Args:
        compare: draws; what it raises ends a round, and what was measured stays.
        fewest_tokens: smaller scales are always run, in full.
        shortcuts: of the model; None = try none.
        tried: what is known already, by state: a list of values in the order of pictures.
    """

    def __init__(self, shape: TransformerConfig, schedule: ScaleSchedule, compare: Compare,
                 fewest_tokens: int, shortcuts: Shortcuts | None = None,
                 tried: dict[State, list[Alike]] | None = None) -> None:
        self.shape, self.schedule, self.fewest_tokens = shape, schedule, fewest_tokens
        self._compare = compare
        self.dense = State(len(schedule))
        self.tried: dict[State, list[Alike]] = {} if tried is None else tried
        self.use(shortcuts)
        self.cost = lru_cache(maxsize=None)(lambda of: cost_of(shape, schedule, of))

    def use(self, shortcuts: Shortcuts | None) -> None:
        """Try these shortcuts, too."""
        self.linear_shortcuts: frozenset[LinearShortcut] = frozenset(
            shortcuts.maps) if shortcuts else frozenset()
        self.identity = shortcuts.identity if shortcuts else None

    def plan(self, state: State) -> SparsityPlan:
        return choice_plan(self.shape, self.schedule, *state, identity=self.identity)

    def round(self, pictures: int) -> None:
        """Find the best choices on the first so many pictures."""
        state = self.dense
        while self.cost(state) > LEAST_COST:
            steps = list(steps_from(self.schedule, state, self.fewest_tokens,
                                    self.linear_shortcuts, partial(self._pays, state)))
            if not steps:
                break
            state = self._best_step(state, steps, pictures)
        self._end_guidance_earlier(pictures)
        self._finish(pictures)

    def likenesses(self, state: State) -> list[float]:
        """Of the pictures that are known."""
        if state == self.dense:
            return [1.0] * max((len(v) for v in self.tried.values()), default=1)
        return [value[0] for value in self.tried.get(state, [])]

    def frontier(self, pictures: int = 1) -> list[State]:
        """States that no other is better than for as little, ascending in cost.

        Args:
            pictures: only those that are known on at least so many.
        """
        known = sorted((s for s in self.tried if len(self.tried[s]) >= pictures),
                       key=lambda s: (self.cost(s), -fmean(self.likenesses(s))))
        best: list[State] = []
        for state in known:
            if not best or paired(self.likenesses(state), self.likenesses(best[-1]))[0] > 0:
                best.append(state)
        return best

    def settled(self, pictures: int) -> bool:
        """Whether more pictures would hardly change what is known of the frontier, as far as
        anybody would draw by it."""
        used = [own for state in self.frontier(pictures)
                if fmean(own := self.likenesses(state)[:pictures]) >= USED]
        return pictures > 1 and all(half_width(own) < SETTLED for own in used)

    def _pays(self, state: State, after: State) -> bool:
        return self.cost(state) - self.cost(after) >= LEAST_SAVED

    def _best_step(self, state: State, steps: Sequence[State], pictures: int) -> State:
        count, left = max(1, pictures // FIRST_SHARE), list(steps)
        here = self.likenesses(state)
        while True:
            self._draw([state, *left], count)
            here = self.likenesses(state)
            lost = {after: [(a - b) / (self.cost(state) - self.cost(after)) for a, b in
                            zip(here, self.likenesses(after)[:count], strict=False)]
                    for after in left}
            left.sort(key=lambda after: fmean(lost[after]))
            if count >= pictures or len(left) == 1:
                return left[0]
            best = lost[left[0]]
            left = [after for after in left[: max(1, -(-len(left) // 2))]
                    if after == left[0] or _may_be_better(lost[after], best)]
            count = min(2 * count, pictures)

    def _end_guidance_earlier(self, pictures: int) -> None:
        """Shortcuts save so much for what they lose that the way down keeps guidance long: from the
        best choices for their costs it ends earlier still."""
        count = max(1, pictures // FIRST_SHARE)
        for state in self.frontier(count):
            for after in less_guided(state):
                if not self._pays(state, after) or self.cost(after) <= LEAST_COST:
                    continue
                self._draw([after], count)
                if fmean(self.likenesses(after)[:count]) \
                        < self._best_for(self.cost(after), count) - HOPELESS:
                    break

    def _best_for(self, most: float, pictures: int) -> float:
        return max((fmean(self.likenesses(s)[:pictures]) for s, known in self.tried.items()
                    if len(known) >= pictures and self.cost(s) <= most), default=0.0)

    def _finish(self, pictures: int) -> None:
        """Draw every choice that may be the best for its cost on all pictures."""
        while True:
            short = [s for s in self.frontier() if len(self.tried[s]) < pictures]
            if not short:
                return
            self._draw(short, pictures)

    def _draw(self, states: Sequence[State], pictures: int) -> None:
        """Have so many pictures of each state."""
        wanted = [s for s in dict.fromkeys(states) if s != self.dense]
        for number in range(pictures):
            missing = [s for s in wanted if len(self.tried.get(s, ())) == number]
            if missing:
                values = self._compare([self.plan(s) for s in missing], number)
                for state, value in zip(missing, values, strict=True):
                    self.tried.setdefault(state, []).append(value)


def _may_be_better(lost: Sequence[float], best: Sequence[float]) -> bool:
    """Whether it is not worse beyond chance, by the pictures that both have."""
    mean, half = paired(lost, best)
    return mean - half <= 0

"""Which shortcuts a calibration's plans are better for: the others need not be kept."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from ..entropy.calibration import Calibration
from ..entropy.schedule_entry import Choice
from ..models.config import TransformerConfig
from ..schedules import get_schedule
from ..sparsity.linear_shortcut import LinearShortcut
from ..sparsity.shortcuts import Shortcuts
from .choices import State, cost_of

MOST_BYTES, MOST_BYTES_WIDE = 100_000_000, 150_000_000
"""Of a file of shortcuts: what people send to one another; of models wider than 2048."""
MOST_LOST = 0.0075
"""Likeness that plans may lose at some cost, for there to be fewer shortcuts to keep."""


class _Rated(NamedTuple):
    """A choice of one pixel budget."""

    pn: str
    choice: Choice
    cost: float
    linear_shortcuts: frozenset[LinearShortcut]


def file_limit(width: int) -> int:
    """Bytes that a model's file of shortcuts should not exceed."""
    return MOST_BYTES if width <= 2048 else MOST_BYTES_WIDE


def with_used(shape: TransformerConfig, calibration: Calibration, shortcuts: Shortcuts | None,
              most_bytes: int | None = None) -> tuple[Calibration, Shortcuts | None]:
    """The calibration without choices that hardly help any plan, and the shortcuts of the rest.

    Leaps are left out one by one, with all choices that take them, as long as the best choice for
    any cost is at most ``MOST_LOST`` worse than the best of all. Then choices with shortcuts go for
    which another one costs no more and is at least as good.

    Args:
        most_bytes: of the shortcuts that are left (``Shortcuts.nbytes``; the file's head comes to
            some ten kilobytes more). Where they take more, leaps are left out beyond what may be
            lost, still the least loss first. None = no bound.
    """
    def small(linear_shortcuts: list[LinearShortcut]) -> bool:
        return most_bytes is None or shortcuts is None or not linear_shortcuts or \
            shortcuts.bytes_of(linear_shortcuts) <= most_bytes

    rated = sorted((_Rated(pn, choice, cost_of(shape, get_schedule(entry.template, entry.pn),
                                               State.of(choice)), State.of(choice).linear_shortcuts)
                    for pn, entry in calibration.entries.items() for choice in entry.choices),
                   key=lambda one: one.cost)
    every, best = rated, _best(rated, rated)
    while linear_shortcuts := _linear_shortcuts(rated):
        fewer = {shortcut: [one for one in rated if shortcut not in one.linear_shortcuts]
                 for shortcut in linear_shortcuts}
        lost = {shortcut: max(a - b for a, b in zip(best, _best(every, fewer[shortcut]),
                                                    strict=True))
                for shortcut in linear_shortcuts}
        least = min(linear_shortcuts, key=lambda shortcut: (lost[shortcut], shortcut))
        if lost[least] > MOST_LOST and small(_linear_shortcuts(_unbeaten(rated))):
            break
        rated = fewer[least]
    rated = _unbeaten(rated)
    linear_shortcuts = _linear_shortcuts(rated)
    kept = shortcuts.only(linear_shortcuts) if shortcuts and linear_shortcuts else None
    entries = {
        pn: entry.model_copy(update={"choices": tuple(sorted(
            (x.choice for x in rated if x.pn == pn), key=lambda c: -c.likeness))})
        for pn, entry in calibration.entries.items()}
    return calibration.model_copy(update={
        "entries": entries, "shortcuts": kept.identity if kept else None}), kept


def _linear_shortcuts(rated: list[_Rated]) -> list[LinearShortcut]:
    return sorted({shortcut for one in rated for shortcut in one.linear_shortcuts})


def _best(places: list[_Rated], rated: list[_Rated]) -> list[float]:
    """At the pixel budget and cost of each of ``places``, the likeness of the best of ``rated``
    that costs no more; both ascend in cost."""
    found: list[float] = []
    best: dict[str, float] = {}
    left = deque(rated)
    for place in places:
        while left and left[0].cost <= place.cost:
            one = left.popleft()
            best[one.pn] = max(best.get(one.pn, 0.0), one.choice.likeness)
        found.append(best.get(place.pn, 0.0))
    return found


def _unbeaten(rated: list[_Rated]) -> list[_Rated]:
    """Those without shortcuts, and those with that no other one makes useless."""
    return [one for one in rated if not one.linear_shortcuts or not _beaten(one, rated)]


def _beaten(one: _Rated, rated: list[_Rated]) -> bool:
    mine = (one.cost, -one.choice.likeness)
    return any(
        other.pn == one.pn and other.cost <= mine[0] and -other.choice.likeness <= mine[1]
        and (other.cost, -other.choice.likeness) != mine for other in rated)

"""Drawing scenes at random, many at once, reproducibly from a seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from training.data.catalog import load_classes
from training.data.colours import BACKGROUND_COLOURS, BACKGROUND_NAMES
from training.data.holdout import SALT, Mask, tables
from training.data.layouts import Ints, place_aside, place_group, place_pair, place_single
from training.data.scene_batch import RELATIONS, SLOTS, TASKS, SceneBatch

Split = Literal["train", "heldout", "eval"]
SPLITS: tuple[Split, ...] = ("train", "heldout", "eval")
TASK_WEIGHTS: dict[str, float] = {
    "single": 0.20,
    "colour": 0.20,
    "count": 0.18,
    "two": 0.12,
    "position": 0.16,
    "binding": 0.14,
}
HELDOUT_TASKS = ("colour", "position", "binding")
"""Tasks that have something to hold out."""


@dataclass(frozen=True)
class Odds:
    """Probabilities of the optional parts of a scene.

    ``placed_single`` of the lone objects (tasks single and colour) are small ones at a side of the
    picture, which the caption tells.
    """

    say_background: float = 0.35
    coloured_count: float = 0.35
    placed_binding: float = 0.45
    placed_single: float = 0.0
    quiet_background: float = 0.55
    plain: float = 0.45
    linear: float = 0.30

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must be a probability, got {value}")
        if self.plain + self.linear > 1.0:
            raise ValueError("plain + linear must not exceed 1; the rest is radial")


def sample_scenes(
    n: int,
    seed: int,
    split: Split = "train",
    tasks: Mapping[str, float] | None = None,
    odds: Odds | None = None,
    salt: str = SALT,
) -> SceneBatch:
    """Draw ``n`` scenes on the CPU.

    Args:
        n: how many.
        seed: same arguments and seed give the same scenes; the splits draw from separate streams.
        split: "train" and "eval" show only combinations that are not held out; in "heldout" every
            scene shows one that is (its tasks are HELDOUT_TASKS).
        tasks: weight of each task; TASK_WEIGHTS when None.
        odds: probabilities of the optional parts.
        salt: names the split into combinations that are shown and held out.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    rng = np.random.default_rng([seed, SPLITS.index(split)])
    task = _draw_tasks(rng, n, split, tasks)
    return Sampler(rng, split, odds or Odds(), salt).fill(task)


def _draw_tasks(
    rng: np.random.Generator, n: int, split: Split, tasks: Mapping[str, float] | None
) -> Ints:
    if tasks is None:
        tasks = {t: w for t, w in TASK_WEIGHTS.items() if split != "heldout" or t in HELDOUT_TASKS}
    unknown = [name for name in tasks if name not in TASKS]
    if unknown:
        raise ValueError(f"unknown tasks {', '.join(unknown)}; there are {', '.join(TASKS)}")
    if split == "heldout" and any(w > 0 for t, w in tasks.items() if t not in HELDOUT_TASKS):
        raise ValueError(f"split 'heldout' has only the tasks {', '.join(HELDOUT_TASKS)}")
    weights = np.array([tasks.get(name, 0.0) for name in TASKS], float)
    if weights.min() < 0 or weights.sum() <= 0:
        raise ValueError(f"task weights must be ≥ 0 and not all 0, got {dict(tasks)}")
    return rng.choice(len(TASKS), n, p=weights / weights.sum())


class Sampler:
    """Fills the arrays of one batch, task by task."""

    def __init__(
        self, rng: np.random.Generator, split: Split, odds: Odds, salt: str = SALT
    ) -> None:
        self.rng, self.odds, self.heldout = rng, odds, split == "heldout"
        self.tables = tables(salt)
        self.seen_colour = self.tables.sayable & ~self.tables.held_colour
        apart = ~np.eye(len(load_classes()), dtype=bool)[:, :, None]
        self.seen_triple = apart & ~self.tables.held_relation

    def fill(self, task: Ints) -> SceneBatch:
        n = len(task)
        self.empty(n)
        for index, name in enumerate(TASKS):
            rows = np.nonzero(task == index)[0]
            if len(rows):
                getattr(self, f"_{name}")(rows)
        valid = np.arange(SLOTS) < self.number[:, None]
        say_background = self.rng.random(n) < self.odds.say_background
        return self.batch(task, valid, self._background(valid, say_background), say_background)

    def empty(self, n: int) -> None:
        """Arrays of ``n`` scenes with nothing in them yet."""
        self.cls = np.zeros((n, SLOTS), np.int64)
        self.variant = np.zeros((n, SLOTS), np.int64)
        self.number = np.ones(n, np.int64)
        self.centre = np.full((n, SLOTS, 2), 0.5, np.float32)
        self.size = np.zeros((n, SLOTS), np.float32)
        self.relation = np.full(n, -1, np.int64)
        self.say_relation = np.zeros(n, bool)

    def batch(self, task: Ints, valid: Mask, background: Ints, say_background: Mask) -> SceneBatch:
        """The arrays as tensors, with shades and wordings drawn."""
        grade, ends, angle = self._shade(background)
        numbers = {
            "task": task,
            "cls": self.cls,
            "variant": self.variant,
            "valid": valid,
            "cx": self.centre[..., 0],
            "cy": self.centre[..., 1],
            "size": self.size,
            "relation": self.relation,
            "say_relation": self.say_relation,
            "background": background,
            "say_background": say_background,
            "grade": grade,
            "ends": ends,
            "angle": angle,
            "caption_seed": self.rng.integers(0, 2**31, len(task)),
        }
        return SceneBatch(
            **{name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in numbers.items()}
        )

    def _single(self, rows: Ints) -> None:
        self.cls[rows, 0] = self.rng.integers(0, len(self.seen_colour), len(rows))
        self._lone(rows)

    def _lone(self, rows: Ints) -> None:
        self.centre[rows, 0], self.size[rows, 0] = place_single(self.rng, len(rows))
        if not self.odds.placed_single:  # draws nothing, so that seeds keep their meaning
            return
        aside = rows[self.rng.random(len(rows)) < self.odds.placed_single]
        side: Ints = self.rng.integers(0, len(RELATIONS), len(aside))
        self.centre[aside, 0], self.size[aside, 0] = place_aside(self.rng, side)
        self.relation[aside], self.say_relation[aside] = side, True

    def _colour(self, rows: Ints) -> None:
        wanted = self.tables.held_colour if self.heldout else self.seen_colour
        self.cls[rows, 0], self.variant[rows, 0] = self._pick_colours(wanted, len(rows))
        self._lone(rows)

    def _count(self, rows: Ints) -> None:
        number = self.rng.integers(1, SLOTS + 1, len(rows))
        cls = self.rng.integers(0, len(self.seen_colour), len(rows))
        variant = np.zeros(len(rows), np.int64)
        painted = np.nonzero(self.rng.random(len(rows)) < self.odds.coloured_count)[0]
        cls[painted], variant[painted] = self._pick_colours(self.seen_colour, len(painted))
        used = np.arange(SLOTS) < number[:, None]
        self.cls[rows] = np.where(used, cls[:, None], 0)
        self.variant[rows] = np.where(used, variant[:, None], 0)
        self.number[rows] = number
        self.centre[rows], self.size[rows] = place_group(self.rng, number)

    def _two(self, rows: Ints) -> None:
        self._pair(rows, self.seen_triple)

    def _position(self, rows: Ints) -> None:
        self._pair(rows, self.tables.held_relation if self.heldout else self.seen_triple)
        self.say_relation[rows] = True

    def _binding(self, rows: Ints) -> None:
        # In the held-out split slot 0 gets the held-out colour; half are swapped below.
        wanted = self.tables.held_colour if self.heldout else self.seen_colour
        either = (wanted[:, None] | self.seen_colour[None]).sum(axis=2)
        mine, others = np.logical_or.reduce(wanted, 1), np.logical_or.reduce(self.seen_colour, 1)
        able: Mask = mine[:, None] & others[None] & (either >= 2)
        self._pair(rows, self.seen_triple & able[:, :, None])
        ours, theirs = wanted[self.cls[rows, 0]], self.seen_colour[self.cls[rows, 1]]
        # The object with fewer colours chooses first, so that the other one has some left.
        first: Mask = np.asarray(ours.sum(axis=1) <= theirs.sum(axis=1))[:, None]
        chosen = self._pick_from(np.where(first, ours, theirs))
        left = np.where(first, theirs, ours)
        left[np.arange(len(rows)), chosen] = False
        other = self._pick_from(left)
        self.variant[rows, 0] = np.where(first[:, 0], chosen, other)
        self.variant[rows, 1] = np.where(first[:, 0], other, chosen)
        self.say_relation[rows] = self.rng.random(len(rows)) < self.odds.placed_binding
        if self.heldout:
            self._swap(rows[self.rng.random(len(rows)) < 0.5])

    def _pair(self, rows: Ints, allowed: Mask) -> None:
        """Two different classes in a relation that is ``allowed`` [C, C, 4], each alike likely."""
        triples = np.argwhere(allowed)
        drawn = triples[self.rng.integers(0, len(triples), len(rows))]
        self.cls[rows, :2] = drawn[:, :2]
        self.relation[rows] = drawn[:, 2]
        self.number[rows] = 2
        self.centre[rows, :2], self.size[rows, :2] = place_pair(self.rng, drawn[:, 2])

    def _swap(self, rows: Ints) -> None:
        """Exchange slots 0 and 1, which leaves the picture as it is."""
        for array in (self.cls, self.variant, self.centre, self.size):
            array[rows, :2] = array[rows, 1::-1]
        self.relation[rows] = self.relation[rows] ^ 1

    def _pick_colours(self, wanted: Mask, count: int) -> tuple[Ints, Ints]:
        """Class and variant, both [count]: an even class, then an even colour of it."""
        able = np.nonzero(wanted.any(axis=1))[0]
        cls = able[self.rng.integers(0, len(able), count)]
        return cls, self._pick_from(wanted[cls])

    def _pick_from(self, allowed: Mask, weight: npt.NDArray[np.float64] | None = None) -> Ints:
        """One allowed column of each row of ``allowed`` [B, K], by ``weight`` [B, K] if given."""
        noise = self.rng.exponential(size=allowed.shape)
        if weight is not None:
            noise = noise / weight
        return np.where(allowed, noise, np.inf).argmin(axis=1)

    def _background(self, valid: Mask, said: Mask) -> Ints:
        visible = self.tables.visible[self.cls, self.variant] | ~valid[:, :, None]
        weight = np.ones((len(valid), len(BACKGROUND_NAMES)))
        quiet = [BACKGROUND_NAMES.index(name) for name in ("white", "gray")]
        loud = weight.shape[1] - len(quiet)
        share = self.odds.quiet_background
        weight[~said] = (1.0 - share + 1e-6) / loud
        for column in quiet:
            weight[~said, column] = (share + 1e-6) / len(quiet)
        allowed: Mask = np.logical_and.reduce(visible, axis=1)
        if not np.logical_or.reduce(allowed, axis=1).all():
            raise ValueError("two classes leave no background on which both stand out; see avoid")
        return self._pick_from(allowed, weight)

    def _shade(self, background: Ints) -> tuple[Ints, npt.NDArray, npt.NDArray]:
        n, rng = len(background), self.rng
        pairs = np.array([(c.first, c.second) for c in BACKGROUND_COLOURS], np.float32) / 255.0
        edges = [self.odds.plain, self.odds.plain + self.odds.linear]
        grade: Ints = np.searchsorted(edges, rng.random(n), side="right").astype(np.int64)
        # A plain background lies inside the range, a graded one runs across most of it.
        flat = np.repeat(rng.uniform(0.15, 0.85, (n, 1)), 2, axis=1)
        sweep = np.stack([rng.uniform(0.0, 0.35, n), rng.uniform(0.65, 1.0, n)], axis=1)
        sweep = np.where(rng.random((n, 1)) < 0.3, sweep[:, ::-1], sweep)
        t = np.where((grade == 0)[:, None], flat, sweep)[:, :, None]
        chosen = pairs[background]
        ends = chosen[:, :1] * (1 - t) + chosen[:, 1:] * t
        angle = rng.uniform(0.0, 2 * np.pi, n)
        return grade, ends.astype(np.float32), angle.astype(np.float32)

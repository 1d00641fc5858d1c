"""Where objects go: positions and sizes that keep every square apart and inside the canvas.

Everything is drawn for many scenes at once; lengths are shares of the canvas side.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.data.scene_batch import SLOTS

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

MARGIN = 0.02
"""Least distance of a square from the canvas edge and from another square."""
_SINGLE = (0.45, 0.88)
_PAIR = (0.34, 0.47)
_ASIDE = 0.10
_SMALLEST = 0.78

# Centres of the squares for each count, and the largest square that keeps MARGIN there.
_GROUPS: dict[int, list[tuple[float, list[tuple[float, float]]]]] = {
    2: [
        (0.46, [(0.25, 0.50), (0.75, 0.50)]),
        (0.46, [(0.50, 0.25), (0.50, 0.75)]),
        (0.46, [(0.26, 0.26), (0.74, 0.74)]),
        (0.46, [(0.74, 0.26), (0.26, 0.74)]),
    ],
    3: [
        (0.30, [(0.17, 0.50), (0.50, 0.50), (0.83, 0.50)]),
        (0.45, [(0.50, 0.26), (0.26, 0.74), (0.74, 0.74)]),
        (0.45, [(0.26, 0.26), (0.74, 0.26), (0.50, 0.74)]),
        (0.30, [(0.18, 0.18), (0.50, 0.50), (0.82, 0.82)]),
    ],
    4: [
        (0.45, [(0.26, 0.26), (0.74, 0.26), (0.26, 0.74), (0.74, 0.74)]),
        (0.29, [(0.50, 0.17), (0.17, 0.50), (0.83, 0.50), (0.50, 0.83)]),
    ],
}
# How often each layout is drawn; rows and corners read more clearly than diagonals.
_WEIGHTS = {2: (0.5, 0.2, 0.15, 0.15), 3: (0.35, 0.3, 0.25, 0.1), 4: (0.8, 0.2)}


def place_single(rng: np.random.Generator, count: int) -> tuple[Floats, Floats]:
    """Centres [count, 2] and sizes [count] of lone objects, most of them near the middle."""
    size = rng.uniform(*_SINGLE, count)
    room = (1.0 - 2 * MARGIN - size)[:, None] / 2
    centre = 0.5 + rng.uniform(-0.8, 0.8, (count, 2)) * room
    return centre.astype(np.float32), size.astype(np.float32)


def place_aside(rng: np.random.Generator, side: Ints) -> tuple[Floats, Floats]:
    """Centres [B, 2] and sizes [B] of lone objects at a side [B] of the canvas.

    ``side`` indexes RELATIONS: left, right, above, below.
    """
    size = rng.uniform(*_PAIR, len(side))
    along = MARGIN + size / 2 + rng.uniform(0.0, _ASIDE, len(side))
    along = np.where(side % 2 == 1, 1.0 - along, along)
    across = 0.5 + rng.uniform(-0.10, 0.10, len(side))
    sideways = side < 2
    centre = np.stack([np.where(sideways, along, across), np.where(sideways, across, along)], 1)
    return centre.astype(np.float32), size.astype(np.float32)


def place_pair(rng: np.random.Generator, relation: Ints) -> tuple[Floats, Floats]:
    """Centres [B, 2, 2] and sizes [B, 2] of two objects, the first lying as ``relation`` [B] says.

    ``relation`` indexes RELATIONS: left, right, above, below.
    """
    count = len(relation)
    size = rng.uniform(*_PAIR, (count, 2))
    inside = 1.0 - 2 * MARGIN
    touching = size.sum(axis=1) / 2
    gap = touching + MARGIN + rng.random(count) * (inside - 2 * touching - MARGIN)
    first_half = size[:, 0] / 2
    second_half = size[:, 1] / 2
    # Along the axis: positions for "first, then second"; mirrored when the relation says so.
    start = MARGIN + rng.random(count) * (inside - gap - touching)
    first, second = start + first_half, start + first_half + gap
    flip = (relation % 2 == 1)[:, None]
    along = np.stack([first, second], axis=1)
    along = np.where(flip, 1.0 - along, along)
    across = 0.5 + rng.uniform(-0.10, 0.10, (count, 1)) + rng.uniform(-0.05, 0.05, (count, 2))
    sideways = (relation < 2)[:, None]
    x, y = np.where(sideways, along, across), np.where(sideways, across, along)
    limit = MARGIN + np.stack([first_half, second_half], axis=1)
    centre = np.stack([np.clip(x, limit, 1 - limit), np.clip(y, limit, 1 - limit)], axis=2)
    return centre.astype(np.float32), size.astype(np.float32)


def place_group(rng: np.random.Generator, number: Ints) -> tuple[Floats, Floats]:
    """Centres [B, 4, 2] and sizes [B, 4] of 1–4 alike objects; unused slots are 0.5 and 0."""
    centre = np.full((len(number), SLOTS, 2), 0.5, np.float32)
    size = np.zeros((len(number), SLOTS), np.float32)
    for many in range(1, SLOTS + 1):
        rows = np.nonzero(number == many)[0]
        if many == 1:
            centre[rows, 0], size[rows, 0] = place_single(rng, len(rows))
            continue
        choices = _GROUPS[many]
        which = rng.choice(len(choices), len(rows), p=_WEIGHTS[many])
        largest = np.array([entry[0] for entry in choices])[which]
        base = np.array([entry[1] for entry in choices])[which]
        side = largest * rng.uniform(_SMALLEST, 1.0, len(rows))
        # What a square gives up in size it may use to move, so neighbours still keep MARGIN.
        play = ((largest - side) / 2)[:, None, None]
        base = base + rng.uniform(-1.0, 1.0, base.shape) * play
        limit = (MARGIN + side / 2)[:, None, None]
        centre[rows, :many] = np.clip(base, limit, 1 - limit)
        size[rows, :many] = side[:, None]
    return centre, size

"""Scenes no caption asks for: any mixture of classes, colours, sizes, and spoilt sprites.

They keep the judge from relying on what the captioned scenes have in common, such as that
different classes come in twos and that nothing overlaps.
"""

from __future__ import annotations

import numpy as np
import torch

from training.data.catalog import load_classes
from training.data.colours import BACKGROUND_COLOURS
from training.data.holdout import Mask, tables
from training.data.scene_batch import GRADES, SLOTS, SceneBatch

_NUMBER = (0.06, 0.22, 0.28, 0.22, 0.22)
_NATURAL = 0.3
_ALIKE = 0.4
_TRIES = 16
_INSIDE = 0.45
"""Half the share of a square that must stay on the canvas and clear of others."""


def sample_free_scenes(n: int, seed: int, spoilt: int = 0, share: float = 0.25) -> SceneBatch:
    """Draw ``n`` scenes of 0-4 objects, of which ``share`` are spoilt sprites.

    Args:
        spoilt: how many spoilt sprites follow the catalogue's in the atlas.
    """
    rng = np.random.default_rng([seed, 77])
    look = tables()
    count = len(load_classes())
    number = rng.choice(SLOTS + 1, n, p=_NUMBER)
    valid = np.arange(SLOTS) < number[:, None]
    cls = rng.integers(0, count, (n, SLOTS))
    allowed = look.sayable[cls]
    noise = np.where(allowed, rng.random(allowed.shape), -1.0)
    natural = (rng.random((n, SLOTS)) < _NATURAL) | ~np.logical_or.reduce(allowed, axis=2)
    variant = np.where(natural, 0, noise.argmax(axis=2))
    alike = (rng.random(n) < _ALIKE)[:, None]
    cls, variant = np.where(alike, cls[:, :1], cls), np.where(alike, variant[:, :1], variant)
    visible = look.visible[cls, variant]
    if spoilt:
        junk = rng.random((n, SLOTS)) < share
        cls = np.where(junk, count + rng.integers(0, spoilt, (n, SLOTS)), cls)
        variant = np.where(junk, rng.integers(0, look.visible.shape[1], (n, SLOTS)), variant)
        visible = visible | junk[:, :, None]
    background, clear = _backgrounds(rng, visible | ~valid[:, :, None])
    valid &= clear[:, None]
    centre, size, fits = _places(rng, number)
    valid &= fits
    numbers = {
        "task": np.zeros(n, np.int64),
        "cls": cls,
        "variant": variant,
        "valid": valid,
        "cx": centre[..., 0],
        "cy": centre[..., 1],
        "size": size,
        "relation": np.full(n, -1),
        "say_relation": np.zeros(n, bool),
        "background": background,
        "say_background": np.zeros(n, bool),
        "grade": rng.integers(0, len(GRADES), n),
        "ends": _ends(rng, background),
        "angle": rng.uniform(0.0, 2 * np.pi, n).astype(np.float32),
        "caption_seed": np.zeros(n, np.int64),
    }
    return SceneBatch(**{k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in numbers.items()})




def _backgrounds(
    rng: np.random.Generator, visible: Mask
) -> tuple[np.ndarray, np.ndarray]:
    """A background on which all of [n, slots, backgrounds] stand out, and whether there is one."""
    allowed: Mask = np.logical_and.reduce(visible, axis=1)
    noise = np.where(allowed, rng.random(allowed.shape), -1.0)
    return noise.argmax(axis=1), np.logical_or.reduce(allowed, axis=1)


def _places(
    rng: np.random.Generator, number: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres, sizes and whether a place was found; squares may overlap a little."""
    n = len(number)
    centre = np.full((n, SLOTS, 2), 0.5, np.float32)
    size = np.zeros((n, SLOTS), np.float32)
    fits = np.zeros((n, SLOTS), bool)
    largest = np.where(number <= 1, 0.95, np.where(number == 2, 0.6, 0.46))[:, None]
    rows = np.arange(n)
    for slot in range(SLOTS):
        side = rng.uniform(0.17, largest, (n, _TRIES))
        edge = side * _INSIDE
        place = edge[..., None] + rng.random((n, _TRIES, 2)) * (1 - 2 * edge)[..., None]
        free = np.ones((n, _TRIES), bool)
        for other in range(slot):
            gap = np.abs(place - centre[:, other, None]).max(axis=2)
            free &= ~fits[:, other, None] | (gap >= edge + size[:, other, None] * _INSIDE)
        pick = free.argmax(axis=1)
        fits[:, slot] = free[rows, pick]
        centre[:, slot], size[:, slot] = place[rows, pick], side[rows, pick]
    return centre, np.where(fits, size, 0.2).astype(np.float32), fits


def _ends(rng: np.random.Generator, background: np.ndarray) -> np.ndarray:
    """Two colours between which the ground runs, about those of its name."""
    pairs = np.array([(c.first, c.second) for c in BACKGROUND_COLOURS], np.float32) / 255.0
    chosen = pairs[background]
    share = rng.uniform(0.0, 1.0, (len(background), 2, 1))
    ends = chosen[:, :1] * (1 - share) + chosen[:, 1:] * share
    return np.clip(ends + rng.normal(0.0, 0.015, ends.shape), 0.0, 1.0).astype(np.float32)

"""Composed pictures with their truth, for calibration and validation: never for training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.data.atlas import SpriteAtlas
from training.data.compose import compose
from training.data.scene_batch import SceneBatch
from training.judge.augment import Augment
from training.judge.labels import labels_of
from training.judge.spoilt import SpoiltAtlas
from training.judge.stream import Mixture, mixed_scenes
from training.judge.truth import Truth, truths_of

CALIBRATION_SEED = 30_001
CHECK_SEED = 30_002
VALIDATION_SEED = 30_003
"""Far from the seeds of any training step."""
_PIECE = 64


@dataclass(frozen=True)
class Pictures:
    """RGB pictures [B, 3, S, S], float32 in 0-1, and what is on them."""

    images: Tensor
    truths: list[list[Truth]]


def composed(scenes: SceneBatch, atlas: SpriteAtlas, size: int = 256) -> Pictures:
    """Scenes as drawn."""
    return Pictures(
        compose(scenes, atlas, size, as_float=True), truths_of(labels_of(scenes, atlas.extent))
    )


def mixed(
    count: int, seed: int, sprites: SpoiltAtlas, augment: Augment | None, mixture: Mixture,
    size: int = 256,
) -> Pictures:
    """Pictures like those of the training, from another seed; spoilt if ``augment`` is given."""
    sprites.redraw(seed)
    scenes = mixed_scenes(count, seed, mixture, sprites.count)
    generator = torch.Generator(sprites.atlas.device).manual_seed(seed)
    images, truths = [], []
    for start in range(0, count, _PIECE):
        piece = scenes[start : start + _PIECE]
        labels = labels_of(piece, sprites.atlas.extent)
        made = compose(piece, sprites.atlas, size, as_float=True)
        if augment is not None:
            made, labels = augment(made, labels, generator)
        images.append(made)
        truths += truths_of(labels)
    return Pictures(torch.cat(images), truths)

"""Recolouring and composing: only the dominant hue moves, and pictures show what scenes say."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.training.art import disc
from training.data.atlas import VARIANTS, SpriteAtlas
from training.data.catalog import class_index, load_classes
from training.data.colours import BACKGROUND_COLOURS, COLOUR_NAMES, OBJECT_COLOURS
from training.data.compose import compose
from training.data.holdout import tables
from training.data.recolour import covered, dominant_hue, hue_saturation, recolour
from training.data.scenes import sample_scenes

BAND = (-40.0, 40.0)


def test_dominant_hue_is_measured() -> None:
    red = dominant_hue(disc(hue=(0.9, 0.1, 0.1)))
    assert min(red, 360 - red) < 1
    assert dominant_hue(disc(hue=(0.1, 0.1, 0.9))) == pytest.approx(240, abs=1)


def test_recolour_moves_only_the_dominant_hue() -> None:
    sprite = disc()
    blue = next(colour for colour in OBJECT_COLOURS if colour.name == "blue")
    painted = recolour(sprite, blue, BAND)
    assert torch.equal(painted[3], sprite[3])
    _, saturation = hue_saturation(sprite[:3])
    gray = saturation < 0.05
    # The smoothing of the mask reaches one pixel over the border.
    inner = -torch.nn.functional.max_pool2d(-gray.float()[None], 3, 1, 1)[0] > 0.5
    assert inner.any() and torch.allclose(painted[:3, inner], sprite[:3, inner])
    hue, _ = hue_saturation(painted[:3])
    body = (saturation > 0.5) & (sprite[3] > 0.99)
    body &= torch.nn.functional.max_pool2d(gray.float()[None], 3, 1, 1)[0] < 0.5
    assert ((hue[body] - 220).abs() < 15).all()


def test_recolour_keeps_light_and_shade() -> None:
    sprite = disc()
    green = next(colour for colour in OBJECT_COLOURS if colour.name == "green")
    column = recolour(sprite, green, BAND)[:3, 12:36, 10].mean(dim=0)
    assert (column.diff() <= 1e-6).all() and column[0] > column[-1] + 0.05


def test_a_gray_sprite_cannot_be_recoloured() -> None:
    with pytest.raises(ValueError, match="no saturated area"):
        recolour(disc(hue=(0.5, 0.5, 0.5)), OBJECT_COLOURS[0], BAND)


def test_atlas_variants(small_atlas: SpriteAtlas) -> None:
    classes = load_classes()
    assert small_atlas.sprites.shape[:3] == (len(classes), VARIANTS, 4)
    apple, red = class_index("apple"), 1 + COLOUR_NAMES.index("red")
    natural = small_atlas.sprites[apple, 0]
    assert torch.equal(small_atlas.sprites[apple, red], natural)
    assert not torch.equal(small_atlas.sprites[apple, red + 2], natural)
    rabbit = class_index("rabbit")
    assert (small_atlas.sprites[rabbit] == small_atlas.sprites[rabbit, :1]).all()
    assert (small_atlas.sprites[:, :, :3] <= small_atlas.sprites[:, :, 3:]).all()


def test_atlas_of_other_classes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "atlas.safetensors"
    save_file({"sprites": torch.zeros(1, 4, 8, 8, dtype=torch.uint8)}, path, {"classes": '["x"]'})
    with pytest.raises(ValueError, match="other classes"):
        SpriteAtlas.load(path)
    with pytest.raises(FileNotFoundError, match=r"training\.data\.atlas"):
        SpriteAtlas.load(tmp_path / "none.safetensors")


def test_pictures_are_reproducible(small_atlas: SpriteAtlas) -> None:
    batch = sample_scenes(24, 1)
    whole = compose(batch, small_atlas, 64)
    assert whole.shape == (24, 3, 64, 64) and whole.dtype == torch.uint8
    assert torch.equal(whole, compose(batch, small_atlas, 64))
    alone = torch.cat([compose(batch[i : i + 1], small_atlas, 64) for i in range(24)])
    assert (whole.int() - alone.int()).abs().max() <= 1
    as_float = compose(batch, small_atlas, 64, as_float=True)
    assert torch.allclose(as_float, whole.float() / 255)


def test_objects_appear_in_their_boxes(small_atlas: SpriteAtlas) -> None:
    size = 96
    batch = sample_scenes(64, 2, tasks={"colour": 1.0})
    empty = replace(batch, valid=torch.zeros_like(batch.valid))
    moved = compose(batch, small_atlas, size).int() - compose(empty, small_atlas, size).int()
    moved = moved.abs().amax(dim=1) > 20
    boxes = batch.boxes(small_atlas.extent)[:, 0] * size
    place = torch.arange(size) + 0.5
    for row in range(64):
        left, top, right, bottom = boxes[row].tolist()
        ys, xs = torch.nonzero(moved[row], as_tuple=True)
        assert place[xs].min() > left - 1.5 and place[xs].max() < right + 1.5
        assert place[ys].min() > top - 1.5 and place[ys].max() < bottom + size * 0.10
        assert moved[row, int((top + bottom) / 2), int((left + right) / 2)]


def test_resampling_is_even(small_atlas: SpriteAtlas) -> None:
    """A flat sprite stays flat at any size; sampled filters would leave a mesh."""
    flat = SpriteAtlas(torch.full_like(small_atlas.sprites, 200), small_atlas.extent * 0 + 1)
    batch = sample_scenes(16, 3, tasks={"single": 1.0})
    drawn = compose(replace(batch, ends=torch.zeros_like(batch.ends)), flat, 100)
    for row, (left, top, right, bottom) in enumerate(batch.boxes()[:, 0].mul(100).tolist()):
        inner = drawn[row, :, int(top) + 3 : int(bottom) - 3, int(left) + 3 : int(right) - 3]
        assert int(inner.max()) - int(inner.min()) <= 1


def test_composing_is_fast_enough(small_atlas: SpriteAtlas) -> None:
    batch = sample_scenes(32, 4)
    compose(batch[:4], small_atlas)
    start = time.process_time()
    compose(batch, small_atlas)
    # Processor time, so that a busy machine does not fail it: 20 pictures/s on two cores.
    assert (time.process_time() - start) / 32 < 0.1


def test_recolourable_art_has_a_dominant_hue(real_atlas: SpriteAtlas) -> None:
    for index, entry in enumerate(load_classes()):
        if entry.recolour:
            rgba = real_atlas.sprites[index, 0].float() / 255
            rgba[:3] /= rgba[3:].clamp_min(1e-3)
            assert covered(rgba, entry.hue_range, entry.hue) > 0.35, entry.name


def test_art_fills_similar_areas(real_atlas: SpriteAtlas) -> None:
    area = (real_atlas.sprites[:, 0, 3].float() / 255).mean(dim=(1, 2))
    assert area.min() > 0.25 and area.max() < 0.56


def test_every_allowed_background_lets_the_art_stand_out(real_atlas: SpriteAtlas) -> None:
    """At least half of each outline differs clearly from the whole range of the background."""
    steps = torch.linspace(0, 1, 5)[:, None]
    grounds = torch.stack(
        [
            (torch.tensor(c.first) * (1 - steps) + torch.tensor(c.second) * steps) / 255
            for c in BACKGROUND_COLOURS
        ]
    )
    for index, entry in enumerate(load_classes()):
        for variant in range(VARIANTS):
            if variant and not tables().sayable[index, variant]:
                continue
            rgba = real_atlas.sprites[index, variant, :, ::2, ::2].float() / 255
            inner = -torch.nn.functional.max_pool2d(-rgba[3][None], 7, 1, 3)[0]
            outline = rgba[:3, (rgba[3] > 0.95) & (inner < 0.5)]
            away = torch.cdist(outline.T[None], grounds).amin(dim=2)
            share = (away > 0.22).float().mean(dim=1)
            shown = torch.from_numpy(tables().visible[index, variant].copy())
            assert share[shown].min() > 0.5, (entry.name, variant, share)

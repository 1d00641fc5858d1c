"""Sprites of any size: levels, files, and drawing from vectors."""

from __future__ import annotations

import builtins
import colorsys
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

from tests.training.art import disc
from training.data import atlas as module
from training.data.atlas import SPRITE, SpriteAtlas, fit
from training.data.catalog import load_classes
from training.data.compose import compose
from training.data.scenes import sample_scenes
from training.data.vectors import draw

SQUARE = ('<rect x="4" y="8" width="24" height="16" fill="#f00"/>'
          '<circle cx="16" cy="16" r="4" fill="#00f"/>')


@pytest.fixture(scope="module")
def large() -> torch.Tensor:
    """Every class as a disc of its hue, straight alpha, 384 pixels a side."""
    discs = [disc(colorsys.hsv_to_rgb((c.hue or 0.0) / 360, 0.89, 0.9)) for c in load_classes()]
    grown = F.interpolate(torch.stack(discs), (384, 384), mode="bilinear", align_corners=False)
    return (grown.clamp(0, 1) * 255).round().to(torch.uint8)


@pytest.fixture
def written(large: torch.Tensor, tmp_path: Path) -> Path:
    path = tmp_path / "atlas.safetensors"
    names = json.dumps([entry.name for entry in load_classes()])
    save_file(module._packed(large), str(path), {"classes": names})
    return path


def test_an_atlas_is_read_back_as_written(large: torch.Tensor, written: Path) -> None:
    with module.safe_open(str(written), framework="pt") as file:
        assert torch.equal(module._read(file), large)
    read = SpriteAtlas.load(written)
    assert read.sprites.shape[-1] == 384 and [t.shape[-1] for t in read.coarser] == [192]
    assert (read.extent - SpriteAtlas.load(written, side=192).extent).abs().max() < 0.01


def test_pictures_take_the_smallest_sprites_that_are_sharp(written: Path) -> None:
    atlas = SpriteAtlas.load(written)
    assert [atlas.level(size).shape[-1] for size in (64, 256, 512, 1024)] == [192, 192, 384, 384]


def test_coarser_sprites_draw_the_same_pictures(written: Path) -> None:
    scenes = sample_scenes(8, 3)
    atlas = SpriteAtlas.load(written)
    bare = SpriteAtlas(atlas.sprites, atlas.extent)
    gap = (compose(scenes, atlas, 128).float() - compose(scenes, bare, 128).float()).abs()
    assert gap.mean() < 0.5 and not torch.equal(gap, torch.zeros_like(gap))


def test_a_side_that_does_not_divide_is_refused(written: Path) -> None:
    with pytest.raises(ValueError, match="384 pixels cannot be given at 100"):
        SpriteAtlas.load(written, side=100)


@pytest.mark.parametrize("side", [SPRITE, 300])
def test_a_picture_is_trimmed_and_centred_at_any_side(side: int) -> None:
    image = Image.new("RGBA", (400, 400))
    image.paste((255, 0, 0, 255), (20, 40, 120, 140))
    found = fit(image, side)
    assert found.shape == (4, side, side)
    seen = np.argwhere(found[3] > 128)
    low, high = seen.min(0), seen.max(0)
    assert abs(low + high - (side - 1)).max() <= 1
    assert abs((high - low).max() / side - 0.52**0.5) < 0.02


def test_vectors_are_drawn_at_the_side_asked_for(tmp_path: Path) -> None:
    pytest.importorskip("resvg_py")
    icons = tmp_path / "icons.json"
    icons.write_text(json.dumps({"width": 32, "height": 32, "icons": {"box": {"body": SQUARE}}}))
    image = draw(icons, "box", 64)
    assert image.size == (64, 64) and image.mode == "RGBA"
    assert image.getpixel((10, 20)) == (255, 0, 0, 255)
    assert image.getpixel((32, 32)) == (0, 0, 255, 255)
    assert image.getpixel((2, 2)) == (0, 0, 0, 0)
    with pytest.raises(KeyError, match="ball"):
        draw(icons, "ball", 64)


def test_a_missing_renderer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest, **more):
        if name == "resvg_py":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(RuntimeError, match="pip install resvg_py"):
        draw(tmp_path / "icons.json", "box", 64)


def test_nearly_every_class_has_a_vector() -> None:
    assert [entry.name for entry in load_classes() if entry.icon is None] == ["cap"]

"""What spoils the pictures keeps their shape, range and labels."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from toprovar.models.quantizer import quantise
from training.judge.augment import Augment, AugmentSettings, cover
from training.judge.blur import blur
from training.judge.corrupt import KINDS, LEVELS
from training.judge.jpeg import jpeg
from training.judge.labels import ABSENT, IGNORED, PRESENT, Labels, labels_of
from training.judge.reconstruct import Spoil, ragged_codes, random_flips
from training.judge.spoilt import SpoiltAtlas
from training.judge.stream import Mixture, mixed_scenes
from training.judge.warp import field, moved, warped


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def picture(size=64, count=1):
    coarse = torch.rand((count, 3, 6, 6), generator=generator(4))
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear")


def labels(centre, size, state=PRESENT):
    one = torch.ones(1, 1, dtype=torch.long)
    two = torch.ones(1, 1, 2)
    return Labels(one, one * state, two * torch.tensor(centre), two * size,
                  torch.zeros(1, 1, 10), torch.ones(1, 1, 10))


def test_everything_at_once_keeps_shape_and_range(patterns):
    scenes = mixed_scenes(4, 1, Mixture(), 0)
    always = AugmentSettings(1.0, 0.02, 1.0, 0.0, 0.0, 1.0, 0.1, 1.0, 2.0, 1.0, 0.1, 1.0, 20.0)
    images = picture(64, 4)
    truth = labels_of(scenes, patterns.extent)
    made, found = Augment(always, None)(images, truth, generator())
    again, _ = Augment(always, None)(images, truth, generator())
    assert made.shape == images.shape and made.min() >= 0 and made.max() <= 1
    assert torch.equal(made, again)
    assert not torch.equal(made, images)
    assert found.centre.shape == truth.centre.shape
    never = AugmentSettings(*[0.0] * 13)
    torch.testing.assert_close(Augment(never, None)(images, truth, generator())[0], images)


@pytest.mark.parametrize("quality", [25, 75])
def test_jpeg_is_near_the_real_one(quality):
    coarse = torch.rand((1, 3, 16, 16), generator=generator(4))
    image = coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)
    file = io.BytesIO()
    pixels = (image[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=2)
    real = torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1) / 255.0
    ours = jpeg(image, torch.tensor([float(quality)]))[0]
    loss = (real - image[0]).square().mean()
    assert (ours - real).square().mean() < 0.05 * loss
    assert loss > 0


def test_blur_widens_a_dot_by_sigma():
    dot = torch.zeros(2, 1, 65, 65)
    dot[:, :, 32, 32] = 1.0
    made = blur(dot, torch.tensor([0.0, 3.0]))
    torch.testing.assert_close(made[0], dot[0])
    away = torch.arange(65.0) - 32
    assert float((made[1, 0].sum(0) * away.square()).sum().sqrt()) == pytest.approx(3.0, rel=0.01)


def test_labels_follow_the_warp():
    image = torch.zeros(1, 1, 128, 128)
    image[:, :, 60:68, 30:38] = 1.0
    moves = field(1, 128, 4, torch.tensor([0.03]), generator(2))
    made = warped(image, moves)[0, 0]
    place = (torch.arange(128) + 0.5) / 128
    mass = made.sum()
    centre = torch.stack([(made.sum(0) * place).sum(), (made.sum(1) * place).sum()]) / mass
    expected = moved(torch.tensor([[[34 / 128, 64 / 128]]]), moves)[0, 0]
    assert (expected - torch.tensor([34 / 128, 64 / 128])).norm() > 0.01
    torch.testing.assert_close(centre, expected, atol=0.006, rtol=0)


def test_covered_objects_are_no_longer_asked_for():
    rows = torch.ones(1, dtype=torch.bool)
    seen = set()
    for seed in range(40):
        image, found = cover(torch.zeros(1, 3, 32, 32), labels(0.5, 0.2), rows, generator(seed))
        hidden = (image[0].sum(0)[13:19, 13:19] != 0).float().mean()
        state = int(found.state)
        seen.add(state)
        assert (state != ABSENT) or hidden > 0.4
        assert (state != PRESENT) or hidden < 0.4
    assert seen == {ABSENT, IGNORED, PRESENT}


def test_spoilt_sprites_are_nothing_to_find(patterns):
    sprites = SpoiltAtlas(patterns, 2, 1)
    sprites.redraw(5)
    first = sprites.atlas.sprites.clone()
    sprites.redraw(6)
    assert torch.equal(first[:-2], patterns.sprites)
    assert not torch.equal(first[-2:], sprites.atlas.sprites[-2:])
    sprites.redraw(5)
    assert torch.equal(first, sprites.atlas.sprites)
    scenes = mixed_scenes(64, 1, Mixture(0.0, 0.0, 0.5), sprites.count)
    junk = scenes.valid & (scenes.cls >= sprites.real)
    found = labels_of(scenes, sprites.atlas.extent)
    assert junk.any()
    assert (found.state[junk] == ABSENT).all()
    assert (found.state[scenes.valid & ~junk] == PRESENT).all()


def test_flips_spare_the_coarse_scales():
    flips = random_flips(100, 7, generator(), most=0.3)
    assert float(flips[:, :2].max()) == 0.0
    assert 0.1 < float(flips[:, -1].max()) <= 0.3
    assert (flips.diff(dim=1) >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_corruption_grows_with_its_level(kind):
    images = picture(128, 2)
    torch.testing.assert_close(KINDS[kind](images, 0, 1), images)
    off = [float((KINDS[kind](images, n, 1) - images).square().mean()) for n in range(LEVELS + 1)]
    assert off == sorted(off) and off[-1] > 2 * off[1]


def test_unspoilt_codes_are_those_of_the_engine():
    latent = torch.randn(2, 8, 4, 4, generator=generator())
    grids = [(1, 1), (2, 2), (4, 4)]
    torch.testing.assert_close(ragged_codes(latent, grids), quantise(latent, grids)[1])
    none = Spoil(torch.zeros(2, 3), torch.zeros(2, dtype=torch.bool), generator())
    torch.testing.assert_close(ragged_codes(latent, grids, none), quantise(latent, grids)[1])


def test_later_scales_mend_wrong_bits_unless_fixed():
    latent = torch.randn(64, 8, 4, 4, generator=generator())
    grids = [(1, 1), (2, 2), (4, 4), (4, 4)]
    flip = torch.tensor([0.0, 0.5, 0.0, 0.0]).expand(64, -1)
    error = [
        float((ragged_codes(latent, grids, Spoil(flip, fixed.expand(64), generator())) - latent)
              .square().mean())
        for fixed in (torch.tensor(False), torch.tensor(True))
    ]
    true = float((ragged_codes(latent, grids) - latent).square().mean())
    assert true < error[0] < error[1]

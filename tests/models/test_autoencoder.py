from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from tests.tiny import tiny_autoencoder
from toprovar.models.autoencoder import psnr, to_uint8
from toprovar.models.quantizer import quantise
from toprovar.models.tiling import tile_starts


@pytest.mark.parametrize("changes", [
    {}, {"stem_patch": 1, "channel_multipliers": (1, 1, 1, 1, 2)},
    {"stem_patch": 2, "stride": 8}, {"base_channels": 48},
])
def test_shapes_follow_the_stride(changes: dict) -> None:
    vae = tiny_autoencoder(**changes)
    stride = vae.shape.stride
    with torch.inference_mode():
        latent = vae.encode(torch.zeros(2, 3, 2 * stride, 3 * stride))
        assert latent.shape == (2, 8, 2, 3)
        image = vae.decode(latent)
    assert image.shape == (2, 3, 2 * stride, 3 * stride)
    assert image.abs().max() <= 1


def test_wrong_inputs_say_what_is_expected() -> None:
    vae = tiny_autoencoder()
    with pytest.raises(ValueError, match="multiples of 16"):
        vae.encode(torch.zeros(1, 3, 20, 32))
    with pytest.raises(ValueError, match=r"\[B, 8, h, w\]"):
        vae.decode(torch.zeros(1, 4, 2, 2))


def test_tiles_cover_the_axis_and_overlap() -> None:
    for length in (5, 8, 9, 16, 17, 40, 64):
        starts = tile_starts(length, 8, 2)
        assert starts[0] == 0
        assert starts[-1] + 8 >= length
        assert all(b - a <= 6 for a, b in pairwise(starts))


def test_one_tile_is_the_whole_decode() -> None:
    vae = tiny_autoencoder()
    codes = torch.randn(1, 8, 6, 6)
    with torch.inference_mode():
        assert torch.equal(vae.decode(codes), vae.decode(codes, tile=6))


def test_tiles_are_close_and_have_no_seams() -> None:
    vae = tiny_autoencoder()
    codes = torch.randn(1, 8, 20, 28, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        whole, tiled = vae.decode(codes), vae.decode(codes, tile=16)
        jumbled = vae.decode(codes.flip(-1), tile=16)
    assert tiled.shape == whole.shape
    assert psnr(whole, tiled) > psnr(whole, jumbled) + 10
    # Blended seams: no column of pixels jumps against its neighbour much more than others do.
    error = (tiled - whole).mean(1)
    jumps = (error[..., 1:] - error[..., :-1]).abs().mean((0, 1))
    assert jumps.max() < 6 * jumps.median()


def test_quantiser_is_a_residual_code() -> None:
    latent = torch.randn(2, 8, 8, 8) * 0.3
    grids = [(1, 1), (2, 2), (4, 4), (8, 8)]
    bits, summed = quantise(latent, grids)
    assert [tuple(b.shape[2:]) for b in bits] == grids
    # By hand, scale by scale
    residual = latent.clone()
    for bit, grid in zip(bits, grids, strict=True):
        small = F.interpolate(residual, grid, mode="area")
        assert torch.equal(bit, (small > 0).to(torch.uint8))
        code = (bit.float() * 2 - 1) / 8**0.5
        residual -= F.interpolate(code, (8, 8), mode="bilinear")
    torch.testing.assert_close(summed, latent - residual)
    with pytest.raises(ValueError, match="last scale"):
        quantise(latent, [(1, 1), (4, 4)])


def test_flips_change_the_codes_and_later_targets_only() -> None:
    latent = torch.randn(4, 8, 8, 8) * 0.3
    grids = [(1, 1), (4, 4), (8, 8)]
    plain, _ = quantise(latent, grids)
    flipped, summed = quantise(latent, grids, flip=0.3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(plain[0], flipped[0])
    assert not torch.equal(plain[1], flipped[1])
    assert summed.shape == latent.shape


def test_uint8_truncates() -> None:
    image = torch.tensor([-1.0, 1.0, 0.0, 0.999]).view(1, 1, 1, 4).expand(1, 3, 1, 4)
    assert to_uint8(image)[0, 0, :, 0].tolist() == [0, 255, 127, 254]

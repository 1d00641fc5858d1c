from __future__ import annotations

import torch
import torch.nn.functional as F

from toprovar.models.latents import bits_to_codes, resize_codes
from toprovar.models.quantizer import quantise
from training.bsq import multi_scale_codes, straight_through
from training.resample import averaged, stretched
from training.targets import teacher_forcing

GRIDS = ((1, 1), (2, 2), (3, 3), (4, 4))
STARTS = (0, 1, 5, 14, 30)


def _latent(rows=3):
    return torch.randn(rows, 8, 4, 4, generator=torch.Generator().manual_seed(0))


def _tokens(grid):
    return grid.flatten(2).transpose(1, 2)


def test_without_flips_bits_are_the_quantisers():
    latent = _latent()
    bits, _ = quantise(latent, GRIDS)
    found = teacher_forcing(latent, GRIDS)
    assert torch.equal(found.bits, torch.cat([_tokens(b) for b in bits], 1))


def test_inputs_are_resampled_sums_of_the_codes_before():
    latent = _latent()
    bits, _ = quantise(latent, GRIDS)
    found = teacher_forcing(latent, GRIDS)
    summed = torch.zeros_like(latent)
    for index, bit in enumerate(bits[:-1]):
        summed = summed + resize_codes(bits_to_codes(bit, 8), (4, 4))
        expected = _tokens(resize_codes(summed, GRIDS[index + 1]))
        start, end = STARTS[index + 1] - 1, STARTS[index + 2] - 1
        torch.testing.assert_close(found.inputs[:, start:end], expected)


def test_flips_change_inputs_and_later_targets_mend_them():
    latent = _latent()
    flip = torch.tensor([0.0, 0.5, 1.0])
    clean = teacher_forcing(latent, GRIDS)
    found = teacher_forcing(latent, GRIDS, 0, flip, torch.Generator().manual_seed(1))
    assert torch.equal(found.bits[0], clean.bits[0])
    assert torch.equal(found.inputs[0], clean.inputs[0])
    # Targets of the first scale are the true bits; only what is fed on is turned over.
    assert torch.equal(found.bits[:, :1], clean.bits[:, :1])
    assert not torch.equal(found.inputs[1:], clean.inputs[1:])
    # With every bit flipped, scale 1 says the signs of latent + code instead of latent - code.
    code = bits_to_codes(1 - clean.bits[2:, :1], 8).transpose(1, 2)[..., None]
    residual = latent[2:] - resize_codes(code, (4, 4))
    expected = F.interpolate(residual, (2, 2), mode="area") > 0
    assert torch.equal(found.bits[2:, 1:5], _tokens(expected).to(torch.uint8))
    assert not torch.equal(found.bits[2:, 1:5], clean.bits[2:, 1:5])


def test_prefix_is_the_start_of_the_whole():
    latent = _latent()
    every, some = teacher_forcing(latent, GRIDS), teacher_forcing(latent, GRIDS, 2)
    assert torch.equal(some.bits, every.bits[:, :5])
    assert torch.equal(some.inputs, every.inputs[:, :4])
    assert teacher_forcing(latent, GRIDS, 1).inputs.shape == (3, 0, 8)


def test_straight_through_gives_codes_and_passes_the_gradient():
    latent = _latent().requires_grad_()
    codes = multi_scale_codes(latent, GRIDS)
    through = straight_through(latent, codes)
    torch.testing.assert_close(through.detach(), quantise(latent.detach(), GRIDS)[1])
    weight = torch.randn_like(codes)
    (through * weight).sum().backward()
    torch.testing.assert_close(latent.grad, weight)


def test_resampling_by_products_is_the_engines():
    x = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    for size in ((1, 1), (6, 6), (4, 12), (16, 16)):
        torch.testing.assert_close(averaged(x, size), F.interpolate(x, size, mode="area"))
        torch.testing.assert_close(stretched(x, size), resize_codes(x, size))
        small = x[..., : size[0], : size[1]]
        torch.testing.assert_close(stretched(small, (16, 16)), resize_codes(small, (16, 16)))


def test_summed_codes_are_the_quantisers():
    latent = torch.randn(2, 8, 8, 8, generator=torch.Generator().manual_seed(4))
    grids = ((1, 1), (3, 3), (6, 6), (8, 8))
    torch.testing.assert_close(multi_scale_codes(latent, grids), quantise(latent, grids)[1])

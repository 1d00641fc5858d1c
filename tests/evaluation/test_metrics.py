"""Metrics against worked-out values and a plain float64 loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from toprovar.evaluation.metrics import (
    as_pictures,
    difference_map,
    equal_bits,
    latent_distance,
    likeness,
    psnr,
    sharpness,
    ssim,
)


def pictures(count: int = 2, size: int = 24, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def plain_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """One channel, every window by itself."""
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / np.outer(line, line).sum()
    c1, c2 = 0.01**2, 0.03**2
    values = []
    for y in range(a.shape[0] - 10):
        for x in range(a.shape[1] - 10):
            p, q = a[y : y + 11, x : x + 11], b[y : y + 11, x : x + 11]
            mp, mq = (window * p).sum(), (window * q).sum()
            vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
            cov = (window * (p - mp) * (q - mq)).sum()
            values.append((2 * mp * mq + c1) * (2 * cov + c2)
                          / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    return float(np.mean(values))


def test_ssim_of_equal_and_of_flat_pictures() -> None:
    a = pictures()
    assert ssim(a, a).tolist() == pytest.approx([1, 1], abs=1e-12)
    low, high = torch.full((1, 3, 16, 16), 0.2), torch.full((1, 3, 16, 16), 0.7)
    expected = (2 * 0.2 * 0.7 + 1e-4) / (0.2**2 + 0.7**2 + 1e-4)
    assert float(ssim(low, high)) == pytest.approx(expected, abs=1e-7)


def test_ssim_against_a_plain_loop() -> None:
    a = pictures(1)
    b = (a + 0.3 * pictures(1, seed=1)).clamp(0, 1)
    expected = np.mean([plain_ssim(a[0, c].double().numpy(), b[0, c].double().numpy())
                        for c in range(3)])
    assert float(ssim(a, b)) == pytest.approx(expected, abs=1e-9)
    assert 0.1 < expected < 0.99


def test_each_picture_by_itself() -> None:
    a, b = pictures(3), pictures(3, seed=1)
    together = ssim(a, b)
    assert together.shape == (3,) and together.dtype == torch.float64
    for i in range(3):
        assert float(ssim(a[i], b[i])) == pytest.approx(float(together[i]), abs=1e-12)


def test_psnr() -> None:
    a = torch.full((2, 3, 12, 12), 0.5)
    b = a.clone()
    b[1] += 0.1
    found = psnr(a, b)
    assert math.isinf(found[0]) and float(found[1]) == pytest.approx(20, abs=1e-4)
    black, white = torch.zeros(3, 12, 12), torch.ones(3, 12, 12)
    assert float(psnr(black, white)) == 0


def test_difference_map() -> None:
    a, b = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    b[0, :, 0, 1] = torch.tensor([0.3, 0.6, 0.9])
    found = difference_map(a, b)
    assert found.shape == (1, 2, 2) and float(found[0, 0, 1]) == pytest.approx(0.6)
    assert found.sum() == found[0, 0, 1]


def test_every_form_of_a_picture_is_the_same() -> None:
    values = torch.randint(0, 256, (3, 14, 12), dtype=torch.uint8)
    pil = Image.fromarray(values.permute(1, 2, 0).numpy())
    for form in (values, values[None], values.float() / 255, pil, [pil], [values]):
        torch.testing.assert_close(as_pictures(form), values[None].float() / 255)
    assert as_pictures([pil, pil]).shape == (2, 3, 14, 12)


@pytest.mark.parametrize(("a", "b", "message"), [
    (torch.rand(3, 20, 20) * 255, torch.rand(3, 20, 20), r"lie in \[0, 1\]"),
    (torch.full((3, 20, 20), math.nan), torch.rand(3, 20, 20), r"lie in \[0, 1\]"),
    (torch.rand(20, 20), torch.rand(20, 20), r"\[B, 3, H, W\]"),
    (torch.rand(1, 4, 20, 20), torch.rand(1, 4, 20, 20), r"\[B, 3, H, W\]"),
    (torch.rand(3, 20, 20), torch.rand(3, 20, 21), "differ in number or size"),
    (torch.ones(3, 20, 20, dtype=torch.int64), torch.rand(3, 20, 20), "float in"),
    (torch.rand(3, 8, 20), torch.rand(3, 8, 20), "at least 11"),
])
def test_pictures_that_cannot_be_compared(a: Tensor, b: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ssim(a, b)


def test_equal_bits() -> None:
    a = [torch.tensor([[[0, 1]], [[1, 1]]]), torch.tensor([[[0, 0], [1, 1]], [[0, 0], [0, 0]]])]
    b = [a[0].clone(), a[1].clone()]
    b[1][0, 0, 0] = 1
    assert equal_bits(a, b).tolist() == pytest.approx([5 / 6, 1])
    # a run that left out the last scale is compared up to there
    assert equal_bits(a[:1], b).tolist() == [1, 1]
    with pytest.raises(ValueError, match="shape"):
        equal_bits(a, [b[0], b[1][:, :1]])
    with pytest.raises(ValueError, match="no bits"):
        equal_bits([], [])


def test_latent_distance() -> None:
    b = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]])
    a = torch.tensor([[3.0, 4.5], [0.0, 0.0], [0.0, 0.0]])
    assert latent_distance(a, b).tolist() == pytest.approx([0.1, 0, 1])
    assert latent_distance(torch.ones(1, 2), torch.zeros(1, 2)).tolist() == [math.inf]
    with pytest.raises(ValueError, match="shape"):
        latent_distance(a, b[:2])


def test_sharpness_is_the_share_of_neighbours_differences() -> None:
    a = pictures()
    assert sharpness(a, a).tolist() == pytest.approx([1, 1])
    assert sharpness(0.5 + (a - 0.5) / 4, a).tolist() == pytest.approx([0.25, 0.25], abs=1e-6)
    flat = torch.full((1, 3, 24, 24), 0.3)
    assert float(sharpness(flat, flat)) == 1


def test_likeness_takes_softness_for_a_loss_but_no_sharpening_for_a_gain() -> None:
    a = pictures(1)
    soft = 0.5 + (a - 0.5) / 4
    assert float(likeness(soft, a)) == pytest.approx(float(ssim(soft, a)) / 2, abs=1e-6)
    assert float(likeness(a, soft)) == pytest.approx(float(ssim(a, soft)))

"""The two features against their description, spelt out pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.tiny import tiny_autoencoder
from toprovar.sparsity.strategies.skipvar.features import (
    diff_hf,
    hf_ratio,
    measure_features,
    small_codes,
    sobel_magnitude,
    vae_decoder,
)


def picture(seed: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, height, width, generator=generator, dtype=torch.float64) * 2 - 1


def plain_sobel(image: Tensor) -> np.ndarray:
    grey = image[0].numpy().mean(0)
    height, width = grey.shape
    padded = np.zeros((height + 2, width + 2))
    padded[1:-1, 1:-1] = grey
    kernel = np.array([[1, 0, -1], [2, 0, -2], [1, 0, -1]])
    out = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            window = padded[y : y + 3, x : x + 3]
            out[y, x] = math.hypot((window * kernel).sum(), (window * kernel.T).sum())
    return out


@pytest.mark.parametrize("size", [(16, 16), (12, 20), (15, 9)])
def test_sobel(size: tuple[int, int]) -> None:
    a, b = picture(0, *size), picture(1, *size)
    np.testing.assert_allclose(sobel_magnitude(a)[0, 0].numpy(), plain_sobel(a), atol=1e-12)
    assert diff_hf(a, b) == pytest.approx(np.abs(plain_sobel(a) - plain_sobel(b)).mean())
    assert diff_hf(a, a) == 0


@pytest.mark.parametrize("size", [(16, 16), (12, 20), (15, 9)])
def test_share_of_high_frequencies(size: tuple[int, int]) -> None:
    height, width = size
    image = picture(2, height, width)
    grey = image[0].numpy().mean(0)
    radius, outside, total = int(0.4 * min(size) / 2), 0.0, 0.0
    rows, columns = np.arange(height), np.arange(width)
    for v in range(height):
        for u in range(width):
            wave = np.exp(-2j * np.pi * ((v - height // 2) * rows[:, None] / height
                                         + (u - width // 2) * columns[None] / width))
            amplitude = abs((grey * wave).sum())
            total += amplitude
            if math.hypot(v - height // 2, u - width // 2) > radius:
                outside += amplitude
    assert hf_ratio(image) == pytest.approx(outside / (total + 1e-6), abs=1e-10)


def test_extremes() -> None:
    flat = torch.full((1, 3, 32, 32), 0.5, dtype=torch.float64)
    board = torch.ones(1, 3, 32, 32, dtype=torch.float64)
    board[..., ::2, ::2] = board[..., 1::2, 1::2] = -1
    assert hf_ratio(flat) < 1e-6 and hf_ratio(board) == pytest.approx(1, abs=1e-6)
    assert hf_ratio(flat * 0) == 0


def test_images_are_measured_one_by_one() -> None:
    codes = torch.randn(3, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    decode = vae_decoder(tiny_autoencoder())
    old, new = small_codes(codes, (4, 4)), small_codes(codes * 2, (4, 4))
    found = measure_features(old, new, decode)
    assert len({f.diff_hf for f in found}) == 3
    for i, features in enumerate(found):
        assert measure_features(old[i : i + 1], new[i : i + 1], decode) == [features]


def test_sums_are_copied() -> None:
    codes = torch.zeros(1, 8, 4, 4)
    small = small_codes(codes, (4, 4))
    codes.add_(1)
    assert small.abs().sum() == 0

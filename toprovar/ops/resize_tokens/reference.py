"""Resizing a map of tokens: every new token is a weighted sum of old ones, axis by axis."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def axis_weights(old: int, new: int, mode: str) -> Tensor:
    """Share of each old place in each new one: [new, old] float64, rows add up to 1.

    nearest: the old place that holds the new one's centre. bilinear: between the two nearest
    centres, ends repeated (align_corners off). area: mean of all old places that the new one
    touches, each counted alike (adaptive average pooling).
    """
    weights = torch.zeros(new, old, dtype=torch.float64)
    for i in range(new):
        if mode == "nearest":
            weights[i, (2 * i + 1) * old // (2 * new)] = 1
        elif mode == "bilinear":
            place = min(max((i + 0.5) * old / new - 0.5, 0), old - 1)
            low = math.floor(place)
            weights[i, low] += 1 - (place - low)
            weights[i, min(low + 1, old - 1)] += place - low
        else:
            first, stop = i * old // new, -(-(i + 1) * old // new)
            weights[i, first:stop] = 1 / (stop - first)
    return weights


def resize_tokens(x: Tensor, grid: tuple[int, int], new_grid: tuple[int, int], mode: str) -> Tensor:
    """[R, h * w, C] -> [R, h2 * w2, C] float64."""
    rows, columns = (axis_weights(*sizes, mode) for sizes in zip(grid, new_grid, strict=True))
    image = x.double().unflatten(1, grid)
    return torch.einsum("rhwc,ih,jw->rijc", image, rows, columns).flatten(1, 2)

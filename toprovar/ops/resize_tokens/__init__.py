"""Maps of tokens brought to the grid of another scale."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..registry import FLOATS, Backend, Call, Constraints, Op, register

MODES = ("nearest", "bilinear", "area")
TRITON = Constraints(
    devices=("cuda",), dtypes=FLOATS, capability=(8, 0), max_size=8192,
    lacks=frozenset({"gradients", "strided channels", "area of a smaller grid"}),
)


def resize_tokens(
    x: Tensor, grid: tuple[int, int], new_grid: tuple[int, int], mode: str = "bilinear", *,
    backend: str = "auto",
) -> Tensor:
    """Resize the map that tokens in row-major order form (see reference.py).

    Args:
        x: [R, h * w, C], any float dtype and strides.
        grid: (h, w) of ``x``.
        new_grid: (h2, w2) wanted, larger or smaller.
        mode: "nearest", "bilinear" (centres aligned, no antialiasing) or "area" (adaptive average
            pooling).

    Returns:
        [R, h2 * w2, C] of x's dtype, contiguous; ``x`` itself where the grids are equal and it is
        contiguous.
    """
    check_resize(x, grid, new_grid, mode)
    if grid == new_grid:
        return x.contiguous()
    call = Call(x.device, x.dtype, x.shape[-1], resize_features(x, grid, new_grid, mode))
    return RESIZE.choose(call, backend).function(x, grid, new_grid, mode)


def resize_features(
    x: Tensor, grid: tuple[int, int], new_grid: tuple[int, int], mode: str
) -> tuple[str, ...]:
    """What a kernel needs beyond the usual to resize ``x``."""
    needs = []
    if x.stride(-1) != 1:
        needs.append("strided channels")
    if mode == "area" and (new_grid[0] < grid[0] or new_grid[1] < grid[1]):
        needs.append("area of a smaller grid")
    if torch.is_grad_enabled() and x.requires_grad:
        needs.append("gradients")
    return tuple(needs)


def resize_map(
    x: Tensor, new_grid: tuple[int, int], mode: str = "bilinear", *, backend: str = "auto"
) -> Tensor:
    """Resize maps of one number a token, such as entropies: all of them in one launch.

    Args:
        x: [..., h, w] of any float dtype; leading dimensions at will, also none. Maps may be apart
            in memory, as in a buffer for the largest grid.
        new_grid: (h2, w2).
        mode: as in ``resize_tokens``.

    Returns:
        [..., h2, w2] of x's dtype.
    """
    if x.ndim < 2:
        raise ValueError(f"resize_map: expected [..., h, w], found shape {tuple(x.shape)}")
    grid = (x.shape[-2], x.shape[-1])
    tokens = x.reshape(-1, grid[0] * grid[1], 1)
    check_resize(tokens, grid, new_grid, mode)
    if grid == new_grid:
        return x.contiguous()
    call = Call(x.device, x.dtype, 1, resize_features(tokens, grid, new_grid, mode))
    resized = RESIZE_MAP.choose(call, backend).function(tokens, grid, new_grid, mode)
    return resized.reshape(*x.shape[:-2], *new_grid)


def check_resize(
    x: Tensor, grid: tuple[int, int], new_grid: tuple[int, int], mode: str
) -> None:
    """ValueError naming what does not fit."""
    if mode not in MODES:
        raise ValueError(f"resize mode is {mode!r}, expected one of {', '.join(MODES)}")
    if min(*grid, *new_grid) < 1:
        raise ValueError(f"grids to resize between are {grid} and {new_grid}, expected sides >= 1")
    if x.ndim != 3 or x.shape[1] != grid[0] * grid[1]:
        raise ValueError(
            f"tokens to resize: expected [R, {grid[0] * grid[1]}, C] for a grid of {grid[0]} x "
            f"{grid[1]}, found shape {tuple(x.shape)}"
        )


def _nearest(x: Tensor, grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
    """By whole numbers, so that no device rounds a place differently."""
    y, x_places = (
        (2 * torch.arange(new, device=x.device) + 1) * old // (2 * new)
        for old, new in zip(grid, new_grid, strict=True)
    )
    index = (y[:, None] * grid[1] + x_places).flatten()
    return x.index_select(1, index)


def _portable(
    x: Tensor, grid: tuple[int, int], new_grid: tuple[int, int], mode: str
) -> Tensor:
    if mode == "nearest":
        return _nearest(x, grid, new_grid)
    # Channels stay innermost: this is torch's channels-last memory format.
    image = x.contiguous().unflatten(1, grid).permute(0, 3, 1, 2)
    if mode == "area":
        image = F.adaptive_avg_pool2d(image, new_grid)
    else:
        image = F.interpolate(image, new_grid, mode="bilinear", align_corners=False)
    return image.permute(0, 2, 3, 1).flatten(1, 2).contiguous()


def _operation(name: str, summary: str) -> Op:
    def load() -> Callable[..., Any]:
        return getattr(import_module(".triton", __name__), name)

    return register(Op(
        name, summary, size_name="channel count",
        backends=(Backend("triton", load, TRITON), Backend("torch", lambda: _portable)),
        kernels=lambda capability: import_module(".triton", __name__).kernels(name),
    ))


RESIZE = _operation("resize_tokens", "Token maps brought to the grid of another scale.")
RESIZE_MAP = _operation("resize_maps", "Maps of one number a token brought to another grid.")

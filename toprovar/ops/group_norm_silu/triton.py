"""Two passes over a channels-last picture: statistics of what is summed on the way, then the norm.

A program of the first pass goes through a stretch of pixels with all their channels and leaves the
mean and the squared deviation of each channel; a small kernel joins them, in a fixed order, to
groups. The second pass runs from the picture's end to its beginning: what the first one touched
last, and the next convolution reads first, is in the cache.
"""

# Triton's launches are not those of a Python function.
# pyright: reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from .norm import Affine, Norm
from .tiles import Tiles, finish_block


@triton.jit
def value_at(
    x, residual, add, pixel, c, live, width,
    CHANNELS: tl.constexpr, HAS_RESIDUAL: tl.constexpr, PHASES: tl.constexpr,
):
    """Channels ``c`` of ``pixel`` in float32: what is stored there and what belongs to it."""
    place = pixel
    if PHASES:
        row, column = pixel // width, pixel % width
        window = ((row + 1) >> 1) * ((width >> 1) + 1) + ((column + 1) >> 1)
        place = window * 4 + (row & 1) * 2 + (column & 1)
    value = tl.load(x + place.to(tl.int64) * CHANNELS + c, mask=live, other=0.0).to(tl.float32)
    if HAS_RESIDUAL:
        value += tl.load(
            residual + pixel.to(tl.int64) * CHANNELS + c, mask=live, other=0.0
        ).to(tl.float32)
    return value + add


# Sizes are not specialised: one compilation serves pictures of any size. Alignment follows from
# the channels, which are constants.
@triton.jit(do_not_specialize=["pixels", "width", "tiles"])
def sum_pixels(
    x, residual, offset, total, partial, x_image, pixels, width, tiles,
    CHANNELS: tl.constexpr, HAS_RESIDUAL: tl.constexpr, HAS_OFFSET: tl.constexpr,
    PHASES: tl.constexpr, STORE: tl.constexpr, STATISTICS: tl.constexpr,
    PIXELS: tl.constexpr, BLOCK: tl.constexpr,
):
    chunk = tl.program_id(0)
    image = tl.program_id(1).to(tl.int64)
    x += image * x_image
    plain = image * pixels * CHANNELS
    if HAS_RESIDUAL:
        residual += plain
    if STORE:
        total += plain
    c = tl.arange(0, BLOCK)
    inside = c < CHANNELS
    add = tl.zeros([BLOCK], tl.float32)
    if HAS_OFFSET:
        add = tl.load(offset + c, mask=inside, other=0.0)
    first = chunk * tiles * PIXELS
    # Deviations are from the stretch's first pixel, which is near their mean: no cancellation.
    pivot = value_at(x, residual, add, first, c, inside, width, CHANNELS, HAS_RESIDUAL, PHASES)
    deviation = tl.zeros([PIXELS, BLOCK], tl.float32)
    square = tl.zeros([PIXELS, BLOCK], tl.float32)
    for tile in range(0, tiles, 2):  # both are asked for before either is waited for
        pixel = (first + tile * PIXELS + tl.arange(0, PIXELS))[:, None]
        next_pixel = pixel + PIXELS
        live, next_live = pixel < pixels, next_pixel < pixels
        if CHANNELS < BLOCK:
            live, next_live = live & inside[None, :], next_live & inside[None, :]
        value = value_at(x, residual, add[None, :], pixel, c[None, :], live, width,
                         CHANNELS, HAS_RESIDUAL, PHASES)
        next_value = value_at(x, residual, add[None, :], next_pixel, c[None, :], next_live, width,
                              CHANNELS, HAS_RESIDUAL, PHASES)
        if STORE:
            value = value.to(x.dtype.element_ty)
            next_value = next_value.to(x.dtype.element_ty)
            place = total + pixel.to(tl.int64) * CHANNELS + c[None, :]
            tl.store(place, value, mask=live)
            tl.store(place + PIXELS * CHANNELS, next_value, mask=next_live)
        if STATISTICS:  # of what the next reader sees
            apart = tl.where(live, value.to(tl.float32) - pivot[None, :], 0.0)
            next_apart = tl.where(next_live, next_value.to(tl.float32) - pivot[None, :], 0.0)
            deviation += apart + next_apart
            square += apart * apart + next_apart * next_apart
    if STATISTICS:
        count = tl.minimum(pixels - first, tiles * PIXELS).to(tl.float32)
        mean = tl.sum(deviation, 0) / count
        squares = tl.maximum(tl.sum(square, 0) - mean * mean * count, 0.0)
        target = partial + (image * tl.num_programs(0) + chunk) * 2 * CHANNELS + c
        tl.store(target, pivot + mean, mask=inside)
        tl.store(target + CHANNELS, squares, mask=inside)


@triton.jit(do_not_specialize=["chunks", "chunk_pixels", "pixels"])
def finish_groups(
    partial, weight, bias, offset, scale, shift, chunks, chunk_pixels, pixels, eps,
    CHANNELS: tl.constexpr, SIZE: tl.constexpr, HAS_OFFSET: tl.constexpr,
    CHUNKS: tl.constexpr, BLOCK: tl.constexpr,
):
    group = tl.program_id(0)
    image = tl.program_id(1).to(tl.int64)
    partial += image * chunks * 2 * CHANNELS
    k = tl.arange(0, BLOCK)
    inside = k < SIZE
    c = group * SIZE + k
    add = tl.zeros([BLOCK], tl.float32)
    pivot = tl.load(partial + group * SIZE)
    if HAS_OFFSET:
        add = tl.load(offset + c, mask=inside, other=0.0)
        pivot += tl.load(offset + group * SIZE)
    deviation = tl.zeros([CHUNKS, BLOCK], tl.float32)
    square = tl.zeros([CHUNKS, BLOCK], tl.float32)
    for start in range(0, chunks, CHUNKS):
        chunk = (start + tl.arange(0, CHUNKS))[:, None]
        live = (chunk < chunks) & inside[None, :]
        count = tl.minimum(pixels - chunk * chunk_pixels, chunk_pixels).to(tl.float32)
        source = partial + chunk * 2 * CHANNELS + c[None, :]
        mean = tl.load(source, mask=live, other=0.0)
        squares = tl.load(source + CHANNELS, mask=live, other=0.0)
        apart = mean + add[None, :] - pivot
        deviation += tl.where(live, count * apart, 0.0)
        square += tl.where(live, squares + count * apart * apart, 0.0)
    mean = tl.sum(tl.sum(deviation, 0), 0) / SIZE / pixels
    variance = tl.maximum(tl.sum(tl.sum(square, 0), 0) / SIZE / pixels - mean * mean, 0.0)
    gain = tl.load(weight + c, mask=inside, other=0.0) / tl.sqrt(variance + eps)
    base = tl.load(bias + c, mask=inside, other=0.0)
    tl.store(scale + image * CHANNELS + c, gain, mask=inside)
    tl.store(shift + image * CHANNELS + c, base + (add - (mean + pivot)) * gain, mask=inside)


@triton.jit(do_not_specialize=["pixels", "tiles"])
def scale_silu(
    x, scale, shift, out, pixels, tiles,
    CHANNELS: tl.constexpr, PIXELS: tl.constexpr, BLOCK: tl.constexpr,
):
    chunk = tl.num_programs(0) - 1 - tl.program_id(0)
    image = tl.program_id(1).to(tl.int64)
    c = tl.arange(0, BLOCK)
    inside = c < CHANNELS
    gain = tl.load(scale + image * CHANNELS + c, mask=inside, other=0.0)[None, :]
    base = tl.load(shift + image * CHANNELS + c, mask=inside, other=0.0)[None, :]
    for tile in range(0, tiles):
        pixel = ((chunk * tiles + tiles - 1 - tile) * PIXELS + tl.arange(0, PIXELS))[:, None]
        live = pixel < pixels
        if CHANNELS < BLOCK:
            live = live & inside[None, :]
        place = (image * pixels + pixel) * CHANNELS + c[None, :]
        value = tl.load(x + place, mask=live, other=0.0).to(tl.float32) * gain + base
        value = value / (1 + tl.exp(-value))
        tl.store(out + place, value.to(out.dtype.element_ty), mask=live)


def norm_affine(x: Tensor, norm: Norm, offset: Tensor | None = None) -> Affine:
    partial = _sum(x, None, None, None, norm.channels, statistics=True)
    return _finish(partial, norm, offset, x.shape[2] * x.shape[3])


def sum_affine_(
    x: Tensor, residual: Tensor | None, offset: Tensor | None, norm: Norm, phases: bool = False
) -> tuple[Tensor, Affine]:
    total = x
    if phases:
        size = (2 * (x.shape[2] - 1), 2 * (x.shape[3] - 1))
        total = torch.empty(x.shape[0], norm.channels, *size, dtype=x.dtype, device=x.device,
                            memory_format=torch.channels_last)
    partial = _sum(x, residual, offset, total, norm.channels, statistics=True)
    return total, _finish(partial, norm, None, total.shape[2] * total.shape[3])


def sum_channels_(x: Tensor, residual: Tensor, offset: Tensor) -> Tensor:
    _sum(x, residual, offset, x, x.shape[1], statistics=False)
    return x


def affine_silu(x: Tensor, affine: Affine, in_place: bool = False) -> Tensor:
    batch, channels, height, width = x.shape
    out = x if in_place else torch.empty_like(x, memory_format=torch.channels_last)
    if x.numel() == 0:
        return out
    tiles = Tiles.to_apply(channels, height * width)
    with torch.cuda.device_of(x):
        scale_silu[(tiles.chunks, batch)](
            x, affine.scale, affine.shift, out, height * width, tiles.of_chunk,
            CHANNELS=channels, PIXELS=tiles.pixels, BLOCK=tiles.block, num_warps=tiles.warps,
        )
    return out


def _sum(
    x: Tensor, residual: Tensor | None, offset: Tensor | None, total: Tensor | None,
    channels: int, statistics: bool,
) -> Tensor | None:
    """Launch the first pass; [B, chunks, 2, C] means and squared deviations."""
    batch = x.shape[0]
    height, width = (x if total is None else total).shape[2:]
    tiles = Tiles.to_sum(channels, height * width)
    partial, phases = None, total is not None and x.shape[1] != channels
    if statistics:
        partial = torch.empty(batch, tiles.chunks, 2, channels, device=x.device)
    with torch.cuda.device_of(x):
        sum_pixels[(tiles.chunks, batch)](
            x, residual, offset, total, partial, x.numel() // batch, height * width, width,
            tiles.of_chunk,
            CHANNELS=channels, HAS_RESIDUAL=residual is not None, HAS_OFFSET=offset is not None,
            PHASES=phases, STORE=total is not None, STATISTICS=statistics,
            PIXELS=tiles.pixels, BLOCK=tiles.block, num_warps=tiles.warps, **options(phases),
        )
    return partial


def options(phases: bool) -> dict[str, int]:
    """The assembler, left alone, may give phases 96 registers and spill one (sm_100)."""
    return {"maxnreg": 128} if phases else {}


def _finish(partial: Tensor | None, norm: Norm, offset: Tensor | None, pixels: int) -> Affine:
    assert partial is not None
    batch, chunks, _, channels = partial.shape
    size = channels // norm.groups
    scale, shift = torch.empty(2, batch, channels, device=partial.device).unbind(0)
    tiles = Tiles.to_sum(channels, pixels)
    rows, block = finish_block(size)
    with torch.cuda.device_of(partial):
        finish_groups[(norm.groups, batch)](
            partial, norm.weight, norm.bias, offset, scale, shift, chunks,
            tiles.of_chunk * tiles.pixels, pixels, norm.eps,
            CHANNELS=channels, SIZE=size, HAS_OFFSET=offset is not None, CHUNKS=rows, BLOCK=block,
            num_warps=4,
        )
    return Affine(scale, shift)

"""Selection without sorting: thresholds found bit by bit, then the kept tokens numbered.

A token's key is its score, as a whole number of the same order, followed by its index counted
backwards: keys are all different, so "the n best" is "all keys of at least t", and t follows from
one count per bit of the key. The counts of all regions go on at once in one program, whose tile
holds a region a row. Everything stays on the chip between reading the scores and writing the mask.
"""

# Triton's launches are not those of a Python function.
# pyright: reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..registry import Kernel
from .layers import LayerCounts

INDEX_BITS = tl.constexpr(14)
LAST_INDEX = tl.constexpr((1 << 14) - 1)
KEY_BITS = tl.constexpr(46)  # 32 of the score, 14 of the index


@triton.jit
def _keys(scores, token, live):
    """Distinct keys in the order of merit, in 0 .. 2^46; -1 where there is no token."""
    score = tl.load(scores + token, mask=live, other=0.0).to(tl.float32)
    score = tl.where(score == score, score, float("-inf")) + 0.0  # NaN comes last; -0 becomes 0
    bits = score.to(tl.int32, bitcast=True)
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # negative numbers count downwards
    merit = ordered.to(tl.int64) + 2147483648
    return tl.where(live, (merit << INDEX_BITS) | (LAST_INDEX - token), -1)


@triton.jit
def select_mask(
    scores, mask, counts, scores_row, h, w, count, minimum, regions_across, batch,
    REGION: tl.constexpr, REGIONS: tl.constexpr, PLACES: tl.constexpr, TABLE: tl.constexpr,
):
    """TABLE: ``counts`` [layers, 2] has what each layer's ``batch`` rows keep, in place of
    ``count``."""
    row = tl.program_id(0).to(tl.int64)
    if TABLE:
        count = tl.load(counts + row // batch * 2)
    scores += row * scores_row
    mask += row * h * w
    region, place = tl.arange(0, REGIONS)[:, None], tl.arange(0, PLACES)[None, :]
    if REGION == 0:
        token = region * PLACES + place
        live = token < h * w
    else:
        y = region // regions_across * REGION + place // REGION
        x = region % regions_across * REGION + place % REGION
        live = (place < REGION * REGION) & (y < h) & (x < w)
        token = y * w + x
    key = _keys(scores, token, live)
    if REGION != 0:
        due = tl.minimum(minimum, tl.sum(live.to(tl.int32), 1))
        threshold = tl.zeros((REGIONS,), tl.int64)
        for i in range(KEY_BITS):
            raised = threshold | (tl.full((REGIONS,), 1, tl.int64) << (KEY_BITS - 1 - i))
            enough = tl.sum((key >= raised[:, None]).to(tl.int32), 1) >= due
            threshold = tl.where(enough, raised, threshold)
        first = live & (key >= threshold[:, None]) & (due > 0)[:, None]
        key += first.to(tl.int64) << KEY_BITS
    bar = tl.full((), 0, tl.int64)
    one = tl.full((), 1, tl.int64)
    for i in range(KEY_BITS + 1):
        raised_bar = bar | (one << (KEY_BITS - i))
        held = tl.sum(tl.sum((key >= raised_bar).to(tl.int32), 1), 0)
        bar = tl.where(held >= count, raised_bar, bar)
    tl.store(mask + token, (key >= bar).to(tl.int8), mask=live)


@triton.jit
def number_tokens(
    mask, out, counts, total, count, batch, BLOCK: tl.constexpr, TABLE: tl.constexpr
):
    """Indices of the tokens whose mask is 1, in rising order. TABLE: a layer's rows begin after
    those of the layers before it."""
    row = tl.program_id(0).to(tl.int64)
    first = row * count
    if TABLE:
        layer = counts + row // batch * 2
        first = tl.load(layer + 1).to(tl.int64) * batch + row % batch * tl.load(layer)
    token = tl.arange(0, BLOCK)
    kept = tl.load(mask + row * total + token, mask=token < total, other=0).to(tl.int32)
    place = tl.cumsum(kept, 0) - 1
    tl.store(out + first + place, token.to(tl.int64), mask=kept == 1)


def select(
    scores: Tensor, grid: tuple[int, int], count: int, region: int, min_per_region: int
) -> Tensor:
    """As ``select_tokens``, whose checks have been made."""
    rows = scores.reshape(-1, scores.shape[-1])
    out = torch.empty(rows.shape[0], count, dtype=torch.int64, device=scores.device)
    if out.numel():
        _launch(rows, grid, count, None, 1, region, min_per_region, out)
    return out.reshape(*scores.shape[:-1], count)


def select_in_layers(
    scores: Tensor, grid: tuple[int, int], counts: LayerCounts, region: int, min_per_region: int
) -> list[Tensor]:
    """As ``layers.select_in_layers``, whose checks have been made."""
    batch, total = scores.shape[1:]
    out = torch.empty(batch * sum(counts.each), dtype=torch.int64, device=scores.device)
    if out.numel():
        rows = scores.reshape(-1, total)
        _launch(rows, grid, 0, counts.table, batch, region, min_per_region, out)
    parts = out.split([batch * count for count in counts.each])
    return [part.view(batch, count) for part, count in zip(parts, counts.each, strict=True)]


def _launch(
    rows: Tensor, grid: tuple[int, int], count: int, counts: Tensor | None, batch: int,
    region: int, min_per_region: int, out: Tensor,
) -> None:
    total = rows.shape[-1]
    region = region if min_per_region else 0
    mask = torch.empty(rows.shape, dtype=torch.int8, device=rows.device)
    regions, places = tile(grid, region)
    across = -(-grid[1] // region) if region else 1
    with torch.cuda.device_of(rows):
        select_mask[(rows.shape[0],)](
            rows, mask, counts, rows.stride(0), *grid, count, min_per_region, across, batch,
            TABLE=counts is not None, **_options(region, regions, places),
        )
        number_tokens[(rows.shape[0],)](
            mask, out, counts, total, count, batch, BLOCK=triton.next_power_of_2(total),
            TABLE=counts is not None, num_warps=4,
        )


def tile(grid: tuple[int, int], region: int) -> tuple[int, int]:
    """Rows (regions) and columns (places of a region) of the tile that holds a map."""
    if not region:
        return 1, triton.next_power_of_2(grid[0] * grid[1])
    regions = -(-grid[0] // region) * -(-grid[1] // region)
    return triton.next_power_of_2(regions), triton.next_power_of_2(region * region)


def _options(region: int, regions: int, places: int) -> dict[str, int]:
    return {"REGION": region, "REGIONS": regions, "PLACES": places,
            "num_warps": max(1, min(16, regions * places // 256))}


def kernels(table: bool) -> list[Kernel]:
    """What ``benchmarks.compile_kernels`` compiles for one of the operations."""
    absent = {"TABLE": table} if table else {"TABLE": table, "counts": None}
    pointers = {"scores": "*fp32", "mask": "*i8", "counts": "*i32"}
    numbers = ("scores_row", "h", "w", "count", "minimum", "regions_across", "batch")
    found = []
    for grid, region in (((64, 64), 0), ((64, 64), 8), ((40, 40), 5), ((64, 64), 16)):
        options = _options(region, *tile(grid, region))
        sizes = {name: options[name] for name in ("REGION", "REGIONS", "PLACES")}
        constants = {**sizes, **absent}
        found.append(Kernel(
            label=f"{grid[0]} x {grid[1]}, regions of {region}",
            function=select_mask,
            signature={**pointers, **dict.fromkeys(numbers, "i32"),
                       **dict.fromkeys(constants, "constexpr")},
            constants=constants, aligned=("scores", "mask", "scores_row"),
            options={"num_warps": options["num_warps"]},
        ))
    for total in (1600, 4096):
        constants = {"BLOCK": triton.next_power_of_2(total), **absent}
        found.append(Kernel(
            label=f"numbering of {total}", function=number_tokens,
            signature={"mask": "*i8", "out": "*i64", "counts": "*i32", "total": "i32",
                       "count": "i32", "batch": "i32", **dict.fromkeys(constants, "constexpr")},
            constants=constants, aligned=("mask", "out", "total"), options={"num_warps": 4},
        ))
    return found

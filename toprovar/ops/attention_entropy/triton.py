"""Attention with its entropy as one Triton kernel: each program takes a tile of queries of one head
past all keys, once.

In base 2, with x the logits times log2 e and m the running maximum: l = sum 2^(x-m) and
t = sum 2^(x-m) (x-m). When m grows to m', with a = 2^(m-m'): t' = a (t + (m - m') l), l' = a l.
H = ln 2 (log2 l - t / l). The entropy costs a multiplication and an addition per logit.
"""

from __future__ import annotations

import functools
import math
from contextlib import nullcontext
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..triton_support import interpreting
from . import tiles

LOG2_E = math.log2(math.e)
NONE, PER_HEAD, MEAN = 0, 1, 2
"""What becomes of the entropy. NONE is for benchmarks."""

# Means over heads are added up as integers (2^-36 a step), whose sum does not depend on the order;
# a NaN becomes a number so negative that no sum hides it.
STEPS = tl.constexpr(2.0**36)
NAN_STEPS = tl.constexpr(-(2**53))
LOWEST = tl.constexpr(-1.0e30)  # finite, so that 0 * (LOWEST - x) is 0
LN_2 = tl.constexpr(math.log(2))
INTERPRETED = tl.constexpr(interpreting())


@triton.jit
def _dot(a, b, acc):
    if INTERPRETED:  # which would multiply the bit patterns of bfloat16
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, acc, input_precision="ieee")


@triton.jit
def _piece(base, rows, stride, left, FIRST: tl.constexpr, WIDTH: tl.constexpr, D: tl.constexpr,
           MASKED: tl.constexpr):
    """Channels FIRST... of some rows: [len(rows), WIDTH], zeros beyond ``left`` rows or D."""
    channels = FIRST + tl.arange(0, WIDTH)
    pointers = base + rows[:, None] * stride + channels[None, :]
    if MASKED:
        inside = (rows[:, None] < left) & (channels[None, :] < D)
        return tl.load(pointers, mask=inside, other=0.0)
    elif FIRST + WIDTH > D:
        return tl.load(pointers, mask=channels[None, :] < D, other=0.0)
    else:
        return tl.load(pointers)


@triton.jit
def _step(q_0, q_1, q_2, q_base, rows, stride_q, left_q,
          k_base, v_base, keys, stride_k, stride_v, left, c, acc_1, acc_2, m, total, weighted,
          W_0: tl.constexpr, W_1: tl.constexpr, W_2: tl.constexpr, D: tl.constexpr,
          CHUNK: tl.constexpr, VALUES: tl.constexpr, ENTROPY: tl.constexpr, MASKED: tl.constexpr):
    """One tile of keys; MASKED: only ``left`` of them exist."""
    s = tl.zeros([rows.shape[0], keys.shape[0]], tl.float32)
    if CHUNK > 0:
        for far in range(0, D, CHUNK):
            q_part = _piece(q_base + far, rows, stride_q, left_q, 0, CHUNK, CHUNK, True)
            k_part = _piece(k_base + far, keys, stride_k, left, 0, CHUNK, CHUNK, MASKED)
            s = _dot(q_part, tl.trans(k_part), s)
    else:
        k_0 = _piece(k_base, keys, stride_k, left, 0, W_0, D, MASKED)
        s = _dot(q_0, tl.trans(k_0), s)
        if W_1 > 0:
            k_1 = _piece(k_base, keys, stride_k, left, W_0, W_1, D, MASKED)
            s = _dot(q_1, tl.trans(k_1), s)
        if W_2 > 0:
            k_2 = _piece(k_base, keys, stride_k, left, W_0 + W_1, W_2, D, MASKED)
            s = _dot(q_2, tl.trans(k_2), s)
    if MASKED:
        x = tl.where(keys[None, :] < left, s * c, LOWEST)
        m_new = tl.maximum(m, tl.max(x, 1))
        y = x - m_new[:, None]
    else:
        m_new = tl.maximum(m, tl.max(s, 1) * c)
        y = s * c - m_new[:, None]
    p = tl.exp2(y)
    a = tl.exp2(m - m_new)
    if ENTROPY:
        weighted = a * (weighted + (m - m_new) * total) + tl.sum(p * y, 1)
    total = a * total + tl.sum(p, 1)
    if VALUES:
        v_0 = _piece(v_base, keys, stride_v, left, 0, W_0, D, MASKED)
        p = p.to(v_0.dtype)
        acc_0 = _dot(p, v_0, acc_0 * a[:, None])
        if W_1 > 0:
            v_1 = _piece(v_base, keys, stride_v, left, W_0, W_1, D, MASKED)
            acc_1 = _dot(p, v_1, acc_1 * a[:, None])
        if W_2 > 0:
            v_2 = _piece(v_base, keys, stride_v, left, W_0 + W_1, W_2, D, MASKED)
            acc_2 = _dot(p, v_2, acc_2 * a[:, None])
    return acc_0, acc_1, acc_2, m_new, total, weighted


@triton.jit
def _write(base, rows, stride, left, acc, total, FIRST: tl.constexpr, WIDTH: tl.constexpr,
           D: tl.constexpr):
    channels = FIRST + tl.arange(0, WIDTH)
    inside = (rows[:, None] < left) & (channels[None, :] < D)
    value = (acc / total[:, None]).to(base.dtype.element_ty)
    tl.store(base + rows[:, None] * stride + channels[None, :], value, mask=inside)


@triton.jit(do_not_specialize=[
    "count", "n", "m_keys", "q_b", "q_h", "q_n", "k_b", "k_h", "k_n", "v_b", "v_h", "v_n",
    "o_b", "o_h", "o_n", "e_b", "e_h"])
def attend_kernel(
    q, k, v, out, entropy, heads, c, count, n, m_keys,
    q_b, q_h, q_n, k_b, k_h, k_n, v_b, v_h, v_n, o_b, o_h, o_n, e_b, e_h,
    UNIT: tl.constexpr, W_0: tl.constexpr, W_1: tl.constexpr, W_2: tl.constexpr, D: tl.constexpr,
    CHUNK: tl.constexpr, VALUES: tl.constexpr, ENTROPY: tl.constexpr, SUBSET: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr,
):
    """One tile of queries of one head and batch row.

    Strides are in UNITs of elements, so that the compiler knows their alignment. ``count`` heads
    are visited. SUBSET: ``heads`` maps a visited head to its place among the entropies (-1: not
    wanted), or without VALUES a place to its head.
    """
    tiles_of_queries = tl.cdiv(n, QUERIES)
    pair = tl.program_id(0) // tiles_of_queries
    start = (tl.program_id(0) % tiles_of_queries) * QUERIES
    b = (pair // count).to(tl.int64)
    head = (pair % count).to(tl.int64)
    slot = head
    if SUBSET:
        listed = tl.load(heads + head).to(tl.int64)
        if VALUES:
            slot = listed
        else:
            head = listed

    rows = tl.arange(0, QUERIES)
    keys = tl.arange(0, KEYS)
    q_base = q + (b * q_b + head * q_h + start.to(tl.int64) * q_n) * UNIT
    k_base = k + (b * k_b + head * k_h) * UNIT
    v_base = v + (b * v_b + head * v_h) * UNIT
    q_0 = _piece(q_base, rows, q_n * UNIT, n - start, 0, W_0, D, True)
    q_1 = q_0
    q_2 = q_0
    acc_0 = tl.zeros([QUERIES, W_0], tl.float32)
    acc_1 = acc_0
    acc_2 = acc_0
    if W_1 > 0:
        q_1 = _piece(q_base, rows, q_n * UNIT, n - start, W_0, W_1, D, True)
        acc_1 = tl.zeros([QUERIES, W_1], tl.float32)
    if W_2 > 0:
        q_2 = _piece(q_base, rows, q_n * UNIT, n - start, W_0 + W_1, W_2, D, True)
        acc_2 = tl.zeros([QUERIES, W_2], tl.float32)
    m = tl.full([QUERIES], LOWEST, tl.float32)
    total = tl.zeros([QUERIES], tl.float32)
    weighted = tl.zeros([QUERIES], tl.float32)

    whole = m_keys // KEYS * KEYS
    for first in range(0, whole, KEYS):
        far = tl.cast(first, tl.int64) * UNIT
        acc_0, acc_1, acc_2, m, total, weighted = _step(
            q_0, q_1, q_2, q_base, rows, q_n * UNIT, n - start, k_base + far * k_n, v_base + far * v_n, keys, k_n * UNIT, v_n * UNIT,
            KEYS, c, acc_0, acc_1, acc_2, m, total, weighted,
            W_0, W_1, W_2, D, CHUNK, VALUES, ENTROPY, False)
    if whole < m_keys:
        far = tl.cast(whole, tl.int64) * UNIT
        acc_0, acc_1, acc_2, m, total, weighted = _step(
            q_0, q_1, q_2, q_base, rows, q_n * UNIT, n - start, k_base + far * k_n, v_base + far * v_n, keys, k_n * UNIT, v_n * UNIT,
            m_keys - whole, c, acc_0, acc_1, acc_2, m, total, weighted,
            W_0, W_1, W_2, D, CHUNK, VALUES, ENTROPY, True)

    if VALUES:
        o_base = out + (b * o_b + head * o_h + start.to(tl.int64) * o_n) * UNIT
        _write(o_base, rows, o_n * UNIT, n - start, acc_0, total, 0, W_0, D)
        if W_1 > 0:
            _write(o_base, rows, o_n * UNIT, n - start, acc_1, total, W_0, W_1, D)
        if W_2 > 0:
            _write(o_base, rows, o_n * UNIT, n - start, acc_2, total, W_0 + W_1, W_2, D)
    if ENTROPY:
        h = LN_2 * (tl.log2(total) - weighted / total)
        h = tl.where(h < 0, 0.0, h)  # and NaN stays NaN
        inside = rows < tl.where(slot >= 0, n - start, 0)
        if ENTROPY == 1:
            tl.store(entropy + b * e_b + slot * e_h + start + rows, h, mask=inside)
        else:
            steps = tl.where(h == h, (h * STEPS).to(tl.int64), NAN_STEPS)
            tl.atomic_add(entropy + b * e_b + start + rows, steps, mask=inside, sem="relaxed")


@triton.jit(do_not_specialize=["n", "e_b"])
def mean_kernel(sums, entropy, factor, n, e_b, BLOCK: tl.constexpr):
    """Sums of steps [B, N] to means."""
    tiles_of_rows = tl.cdiv(n, BLOCK)
    b = (tl.program_id(0) // tiles_of_rows).to(tl.int64)
    rows = tl.program_id(0) % tiles_of_rows * BLOCK + tl.arange(0, BLOCK)
    steps = tl.load(sums + b * n + rows, mask=rows < n, other=0)
    mean = tl.where(steps < 0, float("nan"), steps.to(tl.float32) * factor)
    tl.store(entropy + b * e_b + rows, mean, mask=rows < n)


def attend(
    q: Tensor, k: Tensor, v: Tensor | None, scale: float, out: Tensor | None, found: Tensor | None,
    heads: tuple[int, ...] | None, mean: bool, tile: tiles.Tile | None = None,
) -> None:
    """See reference.attend.

    Args:
        found: None leaves the entropy out (to measure what it costs).
        tile: other than the table's (to tune it).
    """
    batch, count, n, d = q.shape
    if out is None and heads is not None:
        count = len(heads)
    if tile is None:
        tile = _tile(d, q.dtype, q.device, n, batch * count, v is not None)
    mode = NONE if found is None else MEAN if mean else PER_HEAD
    target: Any = found
    if mode == MEAN:
        target = torch.zeros(batch, n, dtype=torch.int64, device=q.device)
    values = k if v is None else v
    result = q if out is None else out
    unit = _unit(q, k, values, result)
    strides = [s // unit for x in (q, k, values, result) for s in x.stride()[:3]]
    e_b, e_h = 0, 0
    if target is not None:
        e_b, e_h = target.stride(0), target.stride(1) if mode == PER_HEAD else 0
    with torch.cuda.device(q.device) if q.device.type == "cuda" else nullcontext():
        attend_kernel[(triton.cdiv(n, tile.queries) * batch * count,)](
            q, k, values, result, q if target is None else target,
            q if heads is None else _head_table(heads, q.shape[1], out is not None, q.device),
            float(scale) * LOG2_E, count, n, k.shape[2], *strides, e_b, e_h,
            UNIT=unit, **_widths(d), D=d, CHUNK=0, VALUES=v is not None, ENTROPY=mode,
            SUBSET=heads is not None, QUERIES=tile.queries, KEYS=tile.keys,
            num_warps=tile.warps, num_stages=tile.stages,
        )
        if mode == MEAN and found is not None:
            steps = 2.0**36 * (count if heads is None else len(heads))
            mean_kernel[(triton.cdiv(n, 1024) * batch,)](
                target, found, 1 / steps, n, found.stride(0), BLOCK=1024)


def _widths(d: int) -> dict[str, int]:
    return dict(zip(("W_0", "W_1", "W_2"), (*tiles.PARTS[d], 0, 0), strict=False))


def _unit(*tensors: Tensor) -> int:
    """Elements in 16 bytes if everything is aligned to that, else 1."""
    unit = 16 // tensors[0].element_size()
    for x in tensors:
        if x.data_ptr() % 16 or any(s % unit for s in x.stride()[:3]):
            return 1
    return unit


def _tile(d: int, dtype: torch.dtype, device: torch.device, n: int, pairs: int, values: bool
          ) -> tiles.Tile:
    capability, processors = _gpu(device)
    few = triton.cdiv(n, 128) * pairs < processors
    return tiles.choose(d, dtype, capability, few, values)


@functools.cache
def _gpu(device: torch.device) -> tuple[int, int]:
    """Compute capability (80, 89, ...) and multiprocessors; the interpreter has any."""
    if device.type != "cuda":
        return 80, 1 << 30  # small tiles, so that small tests have several
    properties = torch.cuda.get_device_properties(device)
    return properties.major * 10 + properties.minor, properties.multi_processor_count


@functools.lru_cache(maxsize=256)
def _head_table(heads: tuple[int, ...], count: int, values: bool, device: torch.device) -> Tensor:
    """See attend_kernel; kept, so that a captured graph copies nothing from the host."""
    table = list(heads)
    if values:
        table = [heads.index(h) if h in heads else -1 for h in range(count)]
    return torch.tensor(table, dtype=torch.int32, device=device)

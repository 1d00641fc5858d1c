# Compile-time constants are in capitals, and Triton's calls are not those of a Python function.
# ruff: noqa: N803
# pyright: reportCallIssue=false, reportArgumentType=false
"""Attention with its entropy as one Triton kernel: a program takes a tile of queries of one head
past all keys, once.

In base 2, with x the logits times log2 e and m the running maximum: l = sum 2^(x-m) and
t = sum 2^(x-m) (x-m). When m grows to m', with a = 2^(m-m'): t' = a (t + (m - m') l), l' = a l.
H = ln 2 (log2 l - t / l). The entropy costs a multiplication and an addition per logit.
"""

from __future__ import annotations

import math

import triton
import triton.language as tl

from ..triton_support import interpreting

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
def _chunk(base, rows, stride, left, far, WIDTH: tl.constexpr, D: tl.constexpr,
           MASKED: tl.constexpr):
    """Like _piece, of channels ``far``... (where ``base`` is already)."""
    channels = tl.arange(0, WIDTH)
    pointers = base + rows[:, None] * stride + channels[None, :]
    if D % WIDTH > 0:
        inside = channels[None, :] < D - far
        if MASKED:
            inside = inside & (rows[:, None] < left)
        return tl.load(pointers, mask=inside, other=0.0)
    elif MASKED:
        return tl.load(pointers, mask=rows[:, None] < left, other=0.0)
    else:
        return tl.load(pointers)


@triton.jit
def _paired(s, c, m, total, weighted, narrow: tl.constexpr, ENTROPY: tl.constexpr):
    """The softmax of one tile, even keys first, then odd ones.

    A thread holds neighbouring keys, so taking them apart and together moves nothing, and it halves
    the registers for 2^y and y, which are needed at the same time: 128 x 128 tiles fit.
    """
    even, odd = tl.split(tl.reshape(s, [s.shape[0], s.shape[1] // 2, 2]))
    m_new = tl.maximum(m, tl.max(tl.maximum(even, odd), 1) * c)
    a = tl.exp2(m - m_new)
    total *= a
    if ENTROPY:
        weighted = a * weighted + (m - m_new) * total
    y = even * c - m_new[:, None]
    p_even = tl.exp2(y)
    fresh = tl.sum(p_even, 1)
    if ENTROPY:
        weighted += tl.sum(p_even * y, 1)
    y = odd * c - m_new[:, None]
    p_odd = tl.exp2(y)
    total += fresh + tl.sum(p_odd, 1)
    if ENTROPY:
        weighted += tl.sum(p_odd * y, 1)
    p = tl.reshape(tl.join(p_even.to(narrow), p_odd.to(narrow)), [s.shape[0], s.shape[1]])
    return m_new, total, weighted, a, p


@triton.jit
def _step(q_0, q_1, q_2, q_base, rows, stride_q, left_q,
          k_base, v_base, keys, stride_k, stride_v, left, c,
          acc_0, acc_1, acc_2, m, total, weighted,
          W_0: tl.constexpr, W_1: tl.constexpr, W_2: tl.constexpr, D: tl.constexpr,
          CHUNK: tl.constexpr, VALUES: tl.constexpr, ENTROPY: tl.constexpr, PAIRED: tl.constexpr,
          MASKED: tl.constexpr):
    """One tile of keys; MASKED: only ``left`` of them exist."""
    s = tl.zeros([rows.shape[0], keys.shape[0]], tl.float32)
    if CHUNK > 0:
        for far in range(0, D, CHUNK):
            q_part = _chunk(q_base + far, rows, stride_q, left_q, far, CHUNK, D, True)
            k_part = _chunk(k_base + far, keys, stride_k, left, far, CHUNK, D, MASKED)
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
    if PAIRED:
        m_new, total, weighted, a, p = _paired(s, c, m, total, weighted, k_base.dtype.element_ty,
                                               ENTROPY)
    else:
        if MASKED:
            x = tl.where(keys[None, :] < left, s * c, LOWEST)
            m_new = tl.maximum(m, tl.max(x, 1))
            y = x - m_new[:, None]
        else:
            m_new = tl.maximum(m, tl.max(s, 1) * c)
            y = s * c - m_new[:, None]
        p = tl.exp2(y)
        a = tl.exp2(m - m_new)
        total *= a
        if ENTROPY:
            weighted = a * weighted + (m - m_new) * total + tl.sum(p * y, 1)
        total += tl.sum(p, 1)
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
    CHUNK: tl.constexpr, DENSE: tl.constexpr, WALK: tl.constexpr, VALUES: tl.constexpr,
    ENTROPY: tl.constexpr, PAIRED: tl.constexpr, SUBSET: tl.constexpr, UNEVEN: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr,
):
    """One tile of queries of one head and batch row.

    Strides are in UNITs of elements, so that the compiler knows their alignment. ``count`` heads
    are visited. SUBSET: ``heads`` maps a visited head to its place among the entropies (-1: not
    wanted), or without VALUES a place to its head. UNEVEN: ``m_keys`` points to each row's number
    of keys, and heads are visited side by side, as a projection's output has them.
    """
    tiles_of_queries = tl.cdiv(n, QUERIES)
    if UNEVEN:
        tile_of_rows = tl.program_id(0) // count
        head = (tl.program_id(0) % count).to(tl.int64)
        start = (tile_of_rows % tiles_of_queries) * QUERIES
        b = (tile_of_rows // tiles_of_queries).to(tl.int64)
        present = tl.load(m_keys + b)
    else:
        pair = tl.program_id(0) // tiles_of_queries
        start = (tl.program_id(0) % tiles_of_queries) * QUERIES
        b = (pair // count).to(tl.int64)
        head = (pair % count).to(tl.int64)
        present = m_keys
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

    # A constant distance between keys leaves one address to keep, not one a row.
    row_k = D if DENSE else k_n * UNIT
    row_v = D if DENSE else v_n * UNIT
    whole = present // KEYS * KEYS
    for first in range(0, whole, KEYS):
        far = 0 if WALK else tl.cast(first, tl.int64)
        acc_0, acc_1, acc_2, m, total, weighted = _step(
            q_0, q_1, q_2, q_base, rows, q_n * UNIT, n - start,
            k_base + far * row_k, v_base + far * row_v, keys, row_k, row_v,
            KEYS, c, acc_0, acc_1, acc_2, m, total, weighted,
            W_0, W_1, W_2, D, CHUNK, VALUES, ENTROPY, PAIRED, False)
        if WALK:
            k_base += KEYS * row_k
            v_base += KEYS * row_v
    if whole < present:
        far = 0 if WALK else tl.cast(whole, tl.int64)
        acc_0, acc_1, acc_2, m, total, weighted = _step(
            q_0, q_1, q_2, q_base, rows, q_n * UNIT, n - start,
            k_base + far * row_k, v_base + far * row_v, keys, row_k, row_v,
            present - whole, c, acc_0, acc_1, acc_2, m, total, weighted,
            W_0, W_1, W_2, D, CHUNK, VALUES, ENTROPY, False, True)

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

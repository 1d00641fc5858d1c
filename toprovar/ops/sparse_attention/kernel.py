# Compile-time constants are in capitals, and Triton's calls are not those of a Python function.
# ruff: noqa: N803
# pyright: reportCallIssue=false, reportArgumentType=false
"""Windowed attention as one Triton kernel: a program takes a tile of queries of one head past the
tile's list of key blocks, once.

The softmax and its entropy are summed as in attention_entropy.kernel. The queries of a tile see the
same keys, so what is hidden is a matter of whole keys, never of single logits.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .. import windows
from ..attention_entropy.kernel import LN_2, LOWEST, NAN_STEPS, STEPS, _dot
from . import blocks

TILE = tl.constexpr(windows.TILE)
BLOCK = tl.constexpr(blocks.BLOCK)
SHIFT = tl.constexpr(blocks.SHIFT)
ENTRY = tl.constexpr(len(blocks.Block._fields))


@triton.jit
def _piece(base, places, inside, stride, size, WIDTH: tl.constexpr, RAGGED: tl.constexpr):
    """WIDTH channels of the tokens ``places``: zeros where not ``inside``, and RAGGED: beyond
    ``size`` channels."""
    channels = tl.arange(0, WIDTH)
    mask = inside[:, None]
    if RAGGED:
        mask = mask & (channels[None, :] < size)
    return tl.load(base + places[:, None] * stride + channels[None, :], mask=mask, other=0.0)


@triton.jit
def _write(base, places, inside, stride, size, acc, total, WIDTH: tl.constexpr):
    channels = tl.arange(0, WIDTH)
    mask = inside[:, None] & (channels[None, :] < size)
    value = (acc / total[:, None]).to(base.dtype.element_ty)
    tl.store(base + places[:, None] * stride + channels[None, :], value, mask=mask)


@triton.jit
def _logits(q_0, q_1, q_2, q_base, at, inside, row_q, k_base, places, present, row_k,
            W_0: tl.constexpr, W_1: tl.constexpr, W_2: tl.constexpr, D: tl.constexpr,
            CHUNK: tl.constexpr):
    s = tl.zeros([at.shape[0], places.shape[0]], tl.float32)
    if CHUNK > 0:
        for far in range(0, D, CHUNK):
            q_part = _piece(q_base + far, at, inside, row_q, D - far, CHUNK, D % CHUNK > 0)
            k_part = _piece(k_base + far, places, present, row_k, D - far, CHUNK, D % CHUNK > 0)
            s = _dot(q_part, tl.trans(k_part), s)
    else:
        k_0 = _piece(k_base, places, present, row_k, D, W_0, W_0 > D)
        s = _dot(q_0, tl.trans(k_0), s)
        if W_1 > 0:
            k_1 = _piece(k_base + W_0, places, present, row_k, D - W_0, W_1, W_0 + W_1 > D)
            s = _dot(q_1, tl.trans(k_1), s)
        if W_2 > 0:
            k_2 = _piece(k_base + W_0 + W_1, places, present, row_k, D - W_0 - W_1, W_2,
                         W_0 + W_1 + W_2 > D)
            s = _dot(q_2, tl.trans(k_2), s)
    return s


@triton.jit(do_not_specialize=[
    "most", "heads", "height", "width", "q_b", "q_h", "q_n", "k_b", "k_h", "k_n",
    "v_b", "v_h", "v_n", "o_b", "o_h", "o_n", "e_b", "e_h"])
def windowed_kernel(
    q, k, v, out, entropy, table, counts, c, most, heads, height, width,
    q_b, q_h, q_n, k_b, k_h, k_n, v_b, v_h, v_n, o_b, o_h, o_n, e_b, e_h,
    UNIT: tl.constexpr, W_0: tl.constexpr, W_1: tl.constexpr, W_2: tl.constexpr, D: tl.constexpr,
    CHUNK: tl.constexpr, DENSE: tl.constexpr, ENTROPY: tl.constexpr,
    QUERIES: tl.constexpr, KEYS: tl.constexpr,
):
    """One tile of queries of one head and row, or the part of it that has QUERIES tokens.

    Strides are in UNITs of elements, so that the compiler knows their alignment. ``table`` and
    ``counts`` are those of WindowBlocks, ``most`` the blocks that a row of the table has room for;
    a block's keys are taken KEYS at a time. ENTROPY: 0 none, 1 of each head, 2 summed over heads.
    """
    parts: tl.constexpr = TILE * TILE // QUERIES
    turns: tl.constexpr = BLOCK // KEYS
    across = tl.cdiv(width, TILE)
    tiles = across * tl.cdiv(height, TILE)
    part = tl.program_id(0) % parts
    tile = tl.program_id(0) // parts % tiles
    pair = tl.program_id(0) // parts // tiles
    b = (pair // heads).to(tl.int64)
    head = (pair % heads).to(tl.int64)

    i = part * QUERIES + tl.arange(0, QUERIES)
    top = tile // across * TILE
    left = tile % across * TILE
    inside = (i // TILE < height - top) & (i % TILE < width - left)
    start = top * width + left
    at = i // TILE * width + i % TILE
    row_q = q_n * UNIT
    q_base = q + (b * q_b + head * q_h + start.to(tl.int64) * q_n) * UNIT
    q_0 = _piece(q_base, at, inside, row_q, D, W_0, W_0 > D)
    q_1 = q_0
    q_2 = q_0
    acc_0 = tl.zeros([QUERIES, W_0], tl.float32)
    acc_1 = acc_0
    acc_2 = acc_0
    if W_1 > 0:
        q_1 = _piece(q_base + W_0, at, inside, row_q, D - W_0, W_1, W_0 + W_1 > D)
        acc_1 = tl.zeros([QUERIES, W_1], tl.float32)
    if W_2 > 0:
        q_2 = _piece(q_base + W_0 + W_1, at, inside, row_q, D - W_0 - W_1, W_2,
                     W_0 + W_1 + W_2 > D)
        acc_2 = tl.zeros([QUERIES, W_2], tl.float32)
    m = tl.full([QUERIES], LOWEST, tl.float32)
    total = tl.zeros([QUERIES], tl.float32)
    weighted = tl.zeros([QUERIES], tl.float32)

    # A constant distance between keys leaves one address to keep, not one a row.
    row_k = D if DENSE else k_n * UNIT
    row_v = D if DENSE else v_n * UNIT
    k_start = k + (b * k_b + head * k_h) * UNIT
    v_start = v + (b * v_b + head * v_h) * UNIT
    list_start = table + tile * most * ENTRY
    for turn in range(0, tl.load(counts + tile) * turns):
        block = turn // turns
        entry = list_start + block * ENTRY
        base = tl.load(entry).to(tl.int64)
        keys = tl.load(entry + 1)
        gap = tl.load(entry + 2)
        offset = tl.load(entry + 3)
        inverse = tl.load(entry + 4)
        j = (turn - block * turns) * KEYS + tl.arange(0, KEYS)
        places = j + ((offset + j) * inverse >> SHIFT) * gap
        present = j < keys
        k_base = k_start + base * row_k
        v_base = v_start + base * row_v

        s = _logits(q_0, q_1, q_2, q_base, at, inside, row_q, k_base, places, present, row_k,
                    W_0, W_1, W_2, D, CHUNK)
        x = tl.where(present[None, :], s * c, LOWEST)
        m_new = tl.maximum(m, tl.max(x, 1))
        y = x - m_new[:, None]
        p = tl.exp2(y)
        a = tl.exp2(m - m_new)
        total *= a
        if ENTROPY:
            weighted = a * weighted + (m - m_new) * total + tl.sum(p * y, 1)
        total += tl.sum(p, 1)
        m = m_new
        v_0 = _piece(v_base, places, present, row_v, D, W_0, W_0 > D)
        p = p.to(v_0.dtype)
        acc_0 = _dot(p, v_0, acc_0 * a[:, None])
        if W_1 > 0:
            v_1 = _piece(v_base + W_0, places, present, row_v, D - W_0, W_1, W_0 + W_1 > D)
            acc_1 = _dot(p, v_1, acc_1 * a[:, None])
        if W_2 > 0:
            v_2 = _piece(v_base + W_0 + W_1, places, present, row_v, D - W_0 - W_1, W_2,
                         W_0 + W_1 + W_2 > D)
            acc_2 = _dot(p, v_2, acc_2 * a[:, None])

    o_base = out + (b * o_b + head * o_h + start.to(tl.int64) * o_n) * UNIT
    row_o = o_n * UNIT
    _write(o_base, at, inside, row_o, D, acc_0, total, W_0)
    if W_1 > 0:
        _write(o_base + W_0, at, inside, row_o, D - W_0, acc_1, total, W_1)
    if W_2 > 0:
        _write(o_base + W_0 + W_1, at, inside, row_o, D - W_0 - W_1, acc_2, total, W_2)
    if ENTROPY:
        h = LN_2 * (tl.log2(total) - weighted / total)
        h = tl.where(h < 0, 0.0, h)  # and NaN stays NaN
        e_base = entropy + b * e_b + start
        if ENTROPY == 1:
            tl.store(e_base + head * e_h + at, h, mask=inside)
        else:
            steps = tl.where(h == h, (h * STEPS).to(tl.int64), NAN_STEPS)
            tl.atomic_add(e_base + at, steps, mask=inside, sem="relaxed")

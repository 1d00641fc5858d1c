"""Bits drawn with a counter-based generator: guidance, temperature, top-p and draw.

The random number of a bit depends on its image's seed, the scale, the token and the bit alone: not
on what else is in the batch, on the device, on the order of work or on tokens skipped before.

Definition, for bit j of token n at a scale: with the pair's logits l0, l1 of both guidance rows,

    delta = (cfg (c1 - c0) + (1 - cfg) (u1 - u0)) / tau
    p     = 1 / (1 + exp(-delta)),  0 or 1 if the less likely bit has at most 1 - top_p
    word  = Philox4x32-10(key = seed, counter = (j // 4, n, scale, 0))[j % 4]
    bit   = 1 if (word + 0.5) / 2^32 < p

in float64, so that devices which round exp or products differently still agree: their p differ by
2^-50 or less, and a bit differs only where its random number falls in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from ..registry import FLOATS, Backend, Call, Constraints, Op, register
from .philox import WORD, philox


def sample_bits_fast(
    logits: Tensor, seeds: Tensor, scale: int, *, cfg: float = 1.0, tau: float = 1.0,
    top_k: int = 0, top_p: float = 0.0, backend: str = "auto",
) -> Tensor:
    """Draw bits with the counter-based generator.

    Args:
        logits: [B, N, 2 d] of the images, or [2 B, N, 2 d] with the unconditional rows last, as
            the head gives them (before temperature and guidance). Any float dtype.
        seeds: [B] int64 on the device of ``logits``, see ``seed_tensor``; one an image.
        scale: number of the scale, part of the counter.
        cfg: guidance; without unconditional rows, or at 1, the conditional logits serve alone.
        tau: temperature, > 0.
        top_k: 1 takes the likelier bit; others have no effect on two classes.
        top_p: 0 = off; else a bit of at most 1 - top_p never comes.

    Returns:
        [B, N, d] uint8. A bit whose logits are NaN is 0.
    """
    images = seeds.shape[0] if seeds.ndim == 1 else 0
    if seeds.dtype != torch.int64 or images == 0 or logits.ndim != 3 \
            or logits.shape[0] not in (images, 2 * images) or logits.shape[2] % 2:
        raise ValueError(
            f"sample_bits_fast: expected logits [B or 2 B, N, 2 d] and int64 seeds [B], found "
            f"{tuple(logits.shape)} and {seeds.dtype} of shape {tuple(seeds.shape)}"
        )
    if not tau > 0 or not 0 <= scale <= WORD:
        raise ValueError(f"sample_bits_fast: tau is {tau} and scale {scale}, expected tau > 0 and "
                         "scale from 0 to 2^32 - 1")
    if logits.shape[0] == images:
        cfg = 1.0
    call = Call(logits.device, logits.dtype, logits.shape[-1],
                () if logits.stride(-1) == 1 else ("strided channels",))
    return FAST.choose(call, backend).function(
        logits, seeds, scale, cfg, 1 / tau, removal_limit(top_k, top_p)
    )


def removal_limit(top_k: int, top_p: float) -> float:
    """A bit of at most this probability never comes; -1 for none."""
    limit = 1 - top_p if top_p > 0 else -1.0
    return max(limit, math.nextafter(0.5, 0)) if top_k == 1 else limit


def portable(
    logits: Tensor, seeds: Tensor, scale: int, cfg: float, inverse_tau: float, limit: float
) -> Tensor:
    images, (tokens, bits) = seeds.shape[0], (logits.shape[1], logits.shape[2] // 2)
    # Apple's GPUs have no float64; there a bit in millions may differ from other devices.
    wide = torch.float32 if logits.device.type == "mps" else torch.float64
    pairs = logits.unflatten(-1, (-1, 2))
    delta = pairs[..., 1].to(wide) - pairs[..., 0].to(wide)
    if cfg != 1:
        delta = cfg * delta[:images] + (1 - cfg) * delta[images:]
    p = (delta[:images] * -inverse_tau).exp_().add_(1).reciprocal_()
    if limit >= 0:
        # Of an even pair the official order drops the first, 0.
        p = torch.where(torch.minimum(p, 1 - p) <= limit, (p >= 0.5).to(wide), p)
    place = torch.arange(tokens, device=logits.device)[:, None]
    group = torch.arange(-(-bits // 4), device=logits.device)
    key = (seeds[:, None, None] & WORD, (seeds[:, None, None] >> 32) & WORD)
    words = torch.stack(philox((group, place, scale, 0), key), dim=-1).flatten(-2)[..., :bits]
    return ((words.to(wide) + 0.5) * 2.0**-32 < p).to(torch.uint8)


def _triton() -> Callable[..., Any]:
    return import_module(".triton", __package__).sample_bits


FAST = register(Op(
    "sample_bits_fast", "Guidance, temperature, top-p and the draw of bits in one pass.",
    backends=(
        Backend("triton", _triton, Constraints(
            devices=("cuda",), dtypes=FLOATS, capability=(8, 0), max_size=1 << 14,
            lacks=frozenset({"strided channels"}),
        )),
        Backend("torch", lambda: portable),
    ),
    size_name="logit count",
    kernels=lambda capability: import_module(".triton", __package__).kernels(),
))

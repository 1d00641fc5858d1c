"""Windowed attention and its entropy as the definitions, in float64."""

from __future__ import annotations

import torch
from torch import Tensor

from ..attention.reference import attention
from ..windows import tile_queries, visible_keys
from .blocks import WindowBlocks


def attend(
    q: Tensor, k: Tensor, v: Tensor, scale: float, blocks: WindowBlocks, out: Tensor,
    found: Tensor | None, mean: bool,
) -> None:
    """Fill ``out`` with softmax(scale q k^T) v over the keys that each query sees, and ``found``
    with the rows' entropies.

    Args:
        q: [R, H, N, D]; k, v: [R, H, M, D].
        out: [R, H, N, D].
        found: [R, H, N] float32, or [R, N] for the mean over heads; None = not wanted.
    """
    seen = torch.from_numpy(visible_keys(blocks.grids, blocks.window)).to(q.device)
    for queries, mask in zip(tile_queries(blocks.grids[-1]), seen, strict=True):
        tokens = torch.from_numpy(queries).to(q.device)
        part = q[:, :, tokens]
        out[:, :, tokens] = attention(part, k, v, scale, mask)
        if found is not None:
            logits = scale * (part.double() @ k.double().mT)
            p = logits.masked_fill(~mask, float("-inf")).softmax(-1)
            entropy = torch.special.entr(p).sum(-1)
            found[..., tokens] = (entropy.mean(1) if mean else entropy).to(found.dtype)

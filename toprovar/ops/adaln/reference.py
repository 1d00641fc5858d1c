"""Adaptive layer norm and gated residual, as written in the papers, for all or chosen tokens."""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-6


def modulated_norm(
    x: Tensor, scale: Tensor, shift: Tensor, index: Tensor | None = None
) -> Tensor:
    """LayerNorm(x) * (1 + scale) + shift in float32, of the tokens that ``index`` names.

    Args:
        x: [R, N, C] tokens of R rows.
        scale, shift: [R, C] of each row, or [C] for all.
        index: [n] or [R, n] int64, or None for all tokens in their order.
    """
    x = _chosen(x, index).float()
    mean = x.mean(-1, keepdim=True)
    variance = (x - mean).square().mean(-1, keepdim=True)
    y = (x - mean) / torch.sqrt(variance + EPS)
    return y * (1 + scale.unsqueeze(-2)) + shift.unsqueeze(-2)


def gated_add(
    x: Tensor, update: Tensor, gate: Tensor | None, index: Tensor | None = None
) -> Tensor:
    """x with gate * update added to the tokens that ``index`` names; gate [R, C] or None for 1."""
    change = update if gate is None else gate[:, None] * update
    if index is None:
        return x + change
    full = torch.zeros_like(x)
    for row, tokens in enumerate(index.expand(x.shape[0], -1)):
        for i, token in enumerate(tokens.tolist()):
            full[row, token] = change[row, i]
    return x + full


def _chosen(x: Tensor, index: Tensor | None) -> Tensor:
    if index is None:
        return x
    rows = [row[tokens] for row, tokens in zip(x, index.expand(x.shape[0], -1), strict=True)]
    return torch.stack(rows)

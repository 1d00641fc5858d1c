"""L2-normalised, scaled and rotated queries and keys, as written in the model's description."""

from __future__ import annotations

import torch
from torch import Tensor

EPS = 1e-12


def normalise_rotate(x: Tensor, rotation: Tensor, head_scale: Tensor | None = None) -> Tensor:
    """Normalise every head's vector to length 1, scale it, turn its channel pairs.

    Args:
        x: [R, N, H, D] queries or keys.
        rotation: [N, D / 2, 2] cosines and sines of the tokens' places, or [R, N, D / 2, 2].
        head_scale: [H] factor per head, or None for 1.

    Returns:
        [R, N, H, D] float32.
    """
    x = x.float()
    x = x / x.norm(dim=-1, keepdim=True).clamp_min(EPS)
    if head_scale is not None:
        x = x * head_scale[:, None]
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = rotation[..., None, :, 0], rotation[..., None, :, 1]
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)


def rotate_qkv(
    qkv: Tensor, rotation: Tensor, head_scale: Tensor | None, index: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values as attention takes them: q normalised, scaled and turned, k
    normalised and turned, v as it is.

    Args:
        qkv: [R, n, 3, H, D].
        rotation: [N, D / 2, 2] or [R, N, D / 2, 2] of all places.
        index: [n] or [R, n], the place of each token; None where n = N.

    Returns:
        Three tensors [R, n, H, D] float32.
    """
    if index is not None:
        tables = rotation.expand(qkv.shape[0], *rotation.shape[-3:])
        places = index.expand(qkv.shape[0], -1)
        rotation = torch.stack([t[i] for t, i in zip(tables, places, strict=True)])
    q, k, v = qkv.unbind(2)
    return (
        normalise_rotate(q, rotation, head_scale), normalise_rotate(k, rotation), v.float()
    )

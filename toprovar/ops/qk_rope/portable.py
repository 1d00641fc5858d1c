"""L2 norm, head scale and rotation in plain torch: two passes over the tokens instead of seven."""

from __future__ import annotations

import torch
from torch import Tensor

from ..fp8 import E4M3, LARGEST, Factor, shaped
from . import reference
from .reference import EPS

COMPLEX_DEVICES = ("cpu", "cuda", "xpu")
"""Where complex products are well supported; elsewhere (Apple's MPS) the reference serves."""


def normalise_rotate(
    x: Tensor, rotation: Tensor, out: Tensor, head_scale: Tensor | None = None
) -> Tensor:
    """Norm and head scale become one factor, and the rotation is a product of complex numbers."""
    if x.device.type not in COMPLEX_DEVICES:
        return out.copy_(reference.normalise_rotate(x, rotation, head_scale))
    x = x.float()
    factor = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min_(EPS).reciprocal_()
    if head_scale is not None:
        factor.mul_(head_scale[:, None])
    pairs = torch.view_as_complex(x.mul_(factor).unflatten(-1, (-1, 2)))
    turn = torch.view_as_complex(rotation)[..., None, :]
    if out.dtype == torch.float32 and out.stride(-1) == 1:
        torch.mul(pairs, turn, out=torch.view_as_complex(out.unflatten(-1, (-1, 2))))
    else:
        out.copy_(torch.view_as_real(pairs.mul_(turn)).flatten(-2))
    return out


def rotate_qkv(
    qkv: Tensor, rotation: Tensor, q_out: Tensor, k_out: Tensor, v_out: Tensor,
    head_scale: Tensor | None, index: Tensor | None = None,
    factors: tuple[Factor, Factor] | None = None,
) -> None:
    if index is not None:
        rotation = rotated_places(rotation, index)
    q, k, v = qkv.unbind(2)
    normalise_rotate(q, rotation, q_out, head_scale)
    if factors is None:
        normalise_rotate(k, rotation, k_out)
        v_out.copy_(v)
        return
    turned = normalise_rotate(k, rotation, torch.empty(k.shape, device=k.device))
    for out, wide, factor in zip((k_out, v_out), (turned, v.float()), factors, strict=True):
        out.copy_((wide / shaped(factor)).clamp_(-LARGEST, LARGEST).to(E4M3))


def rotated_places(rotation: Tensor, index: Tensor) -> Tensor:
    """Rows ``index`` of the table: [n, D / 2, 2], or [R, n, D / 2, 2] if either has rows."""
    if rotation.ndim == 3:
        return rotation[index]
    if index.ndim == 1:
        return rotation.index_select(1, index)
    return rotation[torch.arange(rotation.shape[0], device=index.device)[:, None], index]

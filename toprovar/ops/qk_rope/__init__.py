"""L2 norm, head scale and rotation of queries and keys, written where attention reads them."""

from __future__ import annotations

import torch
from torch import Tensor

from . import reference
from .reference import EPS

COMPLEX_DEVICES = ("cpu", "cuda", "xpu")
"""Where complex products are well supported; elsewhere (Apple's MPS) the reference serves."""


def normalise_rotate(
    x: Tensor, rotation: Tensor, out: Tensor, head_scale: Tensor | None = None
) -> Tensor:
    """Normalise, scale and turn ``x`` into ``out`` (see reference.py).

    Norm and head scale become one factor, and the rotation is a product of complex numbers: two
    passes over the tokens instead of seven. Arithmetic is float32; ``out`` may be narrower.

    Args:
        x: [R, N, H, D]; scratch space, its contents are lost.
        rotation: [N, D / 2, 2] or [R, N, D / 2, 2] float32, contiguous.
        out: [R, N, H, D], any strides and float dtype; a view of the KV cache for keys.
        head_scale: [H] float32 or None.
    """
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

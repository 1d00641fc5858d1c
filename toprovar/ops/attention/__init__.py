"""Attention through torch's scaled_dot_product_attention, and which of its kernels serve here.

torch picks a kernel for each call. A name other than "auto" holds it to one: useful to compare
them, or to avoid a broken one. No flash-attn package is needed.

cuDNN's kernel is the fastest on Hopper, but it builds a plan for every shape that it has not seen,
which takes the host about 20 ms. That pays where the layers of a scale share their shapes. Where
every layer has counts of its own, a kernel that is the same for all shapes serves.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

BACKENDS = ("auto", "flash", "efficient", "cudnn", "math")


def why_unavailable(backend: str, device: torch.device | str) -> str | None:
    """None when ``backend`` can serve calls on ``device``, else the reason in words."""
    if backend not in BACKENDS:
        return f"unknown attention backend {backend!r}; expected one of {', '.join(BACKENDS)}"
    kind = torch.device(device).type
    if backend in ("auto", "math"):
        return None
    if backend == "flash":
        return None if kind in ("cpu", "cuda", "xpu") else f"no flash kernel for {kind}"
    if kind != "cuda":
        return f"{backend} attention needs a CUDA device, this is {kind}"
    if backend == "efficient" and torch.version.hip is not None:
        return "efficient attention is not built for ROCm"
    if backend == "cudnn" and not torch.backends.cudnn.is_available():
        return "cuDNN is not available in this torch"
    return None


def choose(backend: str, device: torch.device | str) -> str:
    """``backend`` itself if it can serve ``device``; a ValueError with the reason if not."""
    reason = why_unavailable(backend, device)
    if reason is not None:
        raise ValueError(f"attention backend: {reason}")
    return backend


def held_to(backend: str) -> Any:
    """Context manager under which torch uses only ``backend`` ("auto": all of them)."""
    if backend == "auto":
        return nullcontext()
    from torch.nn.attention import SDPBackend, sdpa_kernel

    return sdpa_kernel(
        {
            "flash": SDPBackend.FLASH_ATTENTION,
            "efficient": SDPBackend.EFFICIENT_ATTENTION,
            "cudnn": SDPBackend.CUDNN_ATTENTION,
            "math": SDPBackend.MATH,
        }[backend]
    )


def attention(q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor | None = None, *,
              many_shapes: bool = False) -> Tensor:
    """softmax(scale q k^T) v.

    Args:
        q: [R, H, N, D]; k, v: [R, H, M, D], any strides with contiguous channels.
        mask: bool, broadcastable to [R, H, N, M]; False hides a key.
        many_shapes: that this is one of many calls of different N and M: no kernel is taken that
            must be prepared for each of them.

    Returns:
        [R, H, N, D] of q's dtype.
    """
    if many_shapes and mask is None and q.is_cuda and _suits_cudnn(q):
        return _any_shape(q, k, v, scale)
    if mask is None and q.is_cuda and _suits_cudnn(q):
        from torch.nn.attention import SDPBackend, sdpa_kernel

        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            return F.scaled_dot_product_attention(q, k, v, scale=scale)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)


def _any_shape(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """By this project's kernel, without the entropy, or torch's FlashAttention where Triton is not
    at hand."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from ..attention_entropy import OP
    from ..registry import Call

    if OP.choose(Call(q.device, q.dtype, q.shape[-1])).name == "triton":
        from ..attention_entropy.triton import attend

        out = torch.empty_like(q)
        attend(q, k, v, scale, out, None, None, False)
        return out
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION,
                      SDPBackend.MATH]):
        return F.scaled_dot_product_attention(q, k, v, scale=scale)


CUDNN_QUERIES = 48
"""Queries from which on cuDNN's kernel is the fastest of torch's on Hopper: see README.md."""


def _suits_cudnn(q: Tensor) -> bool:
    """Whether a call that may use any kernel should use cuDNN's."""
    if q.shape[2] < CUDNN_QUERIES or q.dtype not in (torch.bfloat16, torch.float16):
        return False
    if q.shape[3] > 128 or q.shape[3] % 8 or torch.is_grad_enabled():
        return False
    free = torch.backends.cuda.cudnn_sdp_enabled() and torch.backends.cuda.flash_sdp_enabled()
    return free and _has_cudnn(q.device)


@lru_cache(maxsize=16)
def _has_cudnn(device: torch.device) -> bool:
    return (torch.version.hip is None and torch.backends.cudnn.is_available()
            and torch.cuda.get_device_capability(device) >= (9, 0))

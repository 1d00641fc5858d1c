"""Attention through torch's scaled_dot_product_attention, and which of its kernels serve here.

torch picks a kernel for each call. A name other than "auto" holds it to one: useful to compare
them, or to avoid a broken one. The name holds for the calls of one thread (:mod:`.flags` keeps
threads apart). No flash-attn package is needed.

cuDNN's kernel is the fastest on Hopper, but it builds a plan for every shape that it has not seen,
which takes the host about 20 ms. That pays where the layers of a scale share their shapes. Where
every layer has counts of its own, a kernel that is the same for all shapes serves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ...arguments import ATTENTION_BACKENDS as BACKENDS
from .flags import FLAGS

_HELD: ContextVar[str] = ContextVar("attention_backend", default="auto")


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


@contextmanager
def held_to(backend: str) -> Iterator[None]:
    """:func:`attention` uses only ``backend`` ("auto": all of them) in the caller's thread."""
    token = _HELD.set(backend)
    try:
        yield
    finally:
        _HELD.reset(token)


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
    kernel = _HELD.get()
    if kernel == "auto" and mask is None and q.is_cuda and _suits_cudnn(q):
        if many_shapes:
            return _any_shape(q, k, v, scale)
        kernel = "cudnn"
    with FLAGS.only(kernel):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)


def _any_shape(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """By this project's kernel, without the entropy, or torch's FlashAttention where Triton is not
    at hand."""
    from ..attention_entropy import OP
    from ..registry import Call

    if OP.choose(Call(q.device, q.dtype, q.shape[-1])).name == "triton":
        from ..attention_entropy.triton import attend

        out = torch.empty_like(q)
        attend(q, k, v, scale, out, None, None, False)
        return out
    with FLAGS.only("flash", "efficient", "math"):
        return F.scaled_dot_product_attention(q, k, v, scale=scale)


CUDNN_QUERIES = 48
"""Queries from which on cuDNN's kernel is the fastest of torch's on Hopper: see README.md."""


def _suits_cudnn(q: Tensor) -> bool:
    """Whether a call that may use any kernel should use cuDNN's."""
    if q.shape[2] < CUDNN_QUERIES or q.dtype not in (torch.bfloat16, torch.float16):
        return False
    if q.shape[3] > 128 or q.shape[3] % 8 or torch.is_grad_enabled():
        return False
    return _has_cudnn(q.device) and FLAGS.free()


@lru_cache(maxsize=16)
def _has_cudnn(device: torch.device) -> bool:
    return (torch.version.hip is None and torch.backends.cudnn.is_available()
            and torch.cuda.get_device_capability(device) >= (9, 0))

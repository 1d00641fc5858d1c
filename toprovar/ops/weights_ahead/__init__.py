"""Weights asked into a GPU's cache before the product that reads them. No result depends on it.

A scale of few tokens is bound by reading weights, but between two products run small kernels that
read none: norms, rotation, attention. Memory rests while they run, unless it is asked for the next
product's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from torch import Tensor

from ..registry import Backend, Call, Constraints, Kernel, Op, register


def weights_ahead(weight: Tensor, *, backend: str = "auto") -> None:
    """Ask for all of a tensor on the current stream, without waiting for it.

    Args:
        weight: contiguous, of any dtype. Nothing is asked for where it does not fit the cache or
            the device takes no such requests.
        backend: see ``ops.registry``.

    Raises:
        ValueError: it is not contiguous.
    """
    if not weight.is_contiguous():
        raise ValueError(f"weights_ahead: expected contiguous weights, found strides "
                         f"{tuple(weight.stride())} of shape {list(weight.shape)}")
    if weight.numel():
        call = Call(weight.device, weight.dtype, weight.element_size())
        WEIGHTS_AHEAD.choose(call, backend).function(weight)


def _nothing(weight: Tensor) -> None:
    """Devices without such requests read the weights when they need them."""


def _triton() -> Callable[..., Any]:
    return import_module(".triton", __name__).weights_ahead


def _kernels(capability: int) -> Sequence[Kernel]:
    return import_module(".triton", __name__).kernels(capability)


WEIGHTS_AHEAD = register(Op(
    "weights_ahead", "The next product's weights asked into the cache.",
    backends=(
        Backend("triton", _triton, Constraints(devices=("cuda",), capability=(8, 0))),
        Backend("torch", lambda: _nothing),
    ),
    size_name="bytes of an element", kernels=_kernels,
))

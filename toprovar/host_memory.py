"""Page-locked host memory that a GPU copies from and to by itself, and tensors packed into it."""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

ALIGNMENT = 256
"""Bytes: what products and copies on a GPU want tensors to begin at."""


class HostBuffer:
    """Bytes in host memory, page-locked where a GPU copies them.

    torch's own allocator for such memory rounds up to powers of two, which would be half as much
    again for the blocks of an 8B model, so that ordinary memory is registered with the driver
    instead. Where the driver refuses, the memory stays ordinary: copies then wait for the host.

    Args:
        nbytes: size.
        device: that copies; memory for any other than an NVIDIA GPU is ordinary.

    Attributes:
        data: [nbytes] uint8; its views must not be used for copies once this object is gone.
        pinned: whether it is page-locked.
    """

    def __init__(self, nbytes: int, device: torch.device) -> None:
        self.data = torch.empty(nbytes, dtype=torch.uint8)
        self.pinned = False
        if device.type == "cuda" and nbytes:
            self._lock(device)

    def _lock(self, device: torch.device) -> None:
        runtime: Any = torch.cuda.cudart()
        with torch.cuda.device(device):
            _unlock_waiting(runtime)
            code = int(runtime.cudaHostRegister(self.data.data_ptr(), self.data.nbytes, 0))
        if not code:
            self.pinned = True
            # The data is an argument, so that it is still there when the lock is taken off.
            weakref.finalize(self, _unlock, runtime, self.data).atexit = False
            return
        with suppress(RuntimeError):  # the runtime tells the next kernel of the error, too
            torch.ones(1, device=device).add_(1)
        try:
            self.data = torch.empty(self.data.nbytes, dtype=torch.uint8, pin_memory=True)
            self.pinned = True
        except RuntimeError:
            logger.warning("%.2f GiB of host memory cannot be page-locked (CUDA error %d): copies "
                           "to the GPU are slower", self.data.nbytes / 2**30, code)


_WAITING: list[Tensor] = []
"""Memory that could not be unlocked yet: it must not be freed before it is."""


def _unlock(runtime: Any, data: Tensor) -> None:
    """Unlock memory that nobody copies from any more, unless work is being recorded just now."""
    _WAITING.append(data)
    if not torch.cuda.is_current_stream_capturing():
        _unlock_waiting(runtime)


def _unlock_waiting(runtime: Any) -> None:
    if not _WAITING:
        return
    try:
        torch.cuda.synchronize()  # copies that were launched still read it
    except RuntimeError:  # another thread records
        return
    _WAITING[:] = [data for data in _WAITING
                   if int(runtime.cudaHostUnregister(data.data_ptr()))]


@dataclass(frozen=True)
class Packing:
    """Where tensors of given shapes lie in one buffer of bytes, so that one copy moves them all.

    Attributes:
        places: by name, (first byte, shape, dtype); nbytes: of the buffer.
    """

    places: tuple[tuple[str, int, torch.Size, torch.dtype], ...]
    nbytes: int

    @staticmethod
    def of(tensors: Mapping[str, Tensor]) -> Packing:
        places, end = [], 0
        for name, tensor in tensors.items():
            places.append((name, end, tensor.shape, tensor.dtype))
            end += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
        return Packing(tuple(places), end)

    def views(self, buffer: Tensor) -> dict[str, Tensor]:
        """The tensors in a buffer [nbytes] of uint8, on any device."""
        found = {}
        for name, start, shape, dtype in self.places:
            size = math.prod(shape) * dtype.itemsize
            found[name] = buffer[start : start + size].view(dtype).view(shape)
        return found

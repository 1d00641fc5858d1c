"""What a device has left, and how fast host memory reaches it."""

from __future__ import annotations

import logging
from functools import cache

import torch

from ..devices import FLOPS_PER_PROCESSOR
from .placement import Speed

logger = logging.getLogger(__name__)

OVERHEAD = 448 << 20
"""Bytes that cuBLAS and cuDNN take as workspaces on a GPU, and that torch's allocator loses to
pieces of unequal sizes: up to 620 MB were seen, some of which comes back when memory is short."""
USUAL_BUS = 12e9
"""Bytes a second where the bus cannot be measured: PCIe 3 with sixteen lanes."""
SAMPLE = 32 << 20
"""Bytes that the bus is measured with."""


@cache
def speed_of(device: torch.device) -> Speed:
    """Roughly; the bus is measured once, with copies of 32 MiB."""
    if device.type != "cuda":
        return Speed(flops=1e11, memory=2e10, bus=1e10)
    found = torch.cuda.get_device_properties(device)
    flops = FLOPS_PER_PROCESSOR * found.multi_processor_count
    # Cards are built so that a byte comes with about 250 operations.
    return Speed(flops, flops / 250, bus_speed(device), OVERHEAD)


def bus_speed(device: torch.device, nbytes: int = SAMPLE) -> float:
    """Bytes a second from page-locked host memory to an NVIDIA GPU, the best of three copies."""
    try:
        host = torch.empty(nbytes, dtype=torch.uint8, pin_memory=True)
        there = torch.empty(nbytes, dtype=torch.uint8, device=device)
        best = 0.0
        for _ in range(3):
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            there.copy_(host, non_blocking=True)
            stop.record()
            stop.synchronize()
            best = max(best, nbytes / (start.elapsed_time(stop) / 1000))
    except RuntimeError as error:
        logger.warning("the bus cannot be measured: %s", str(error).partition("\n")[0])
        return USUAL_BUS
    return best

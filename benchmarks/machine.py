"""What the figures were measured on."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch

from toprovar import __version__


def describe(device: torch.device) -> dict[str, Any]:
    """Machine and versions, for the head of every result."""
    name = platform.processor() or platform.machine()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        try:
            with open("/proc/cpuinfo", encoding="utf-8") as file:
                name = next(line.split(":", 1)[1].strip() for line in file
                            if line.startswith("model name"))
        except (OSError, StopIteration):
            pass
    return {
        "device": str(device), "name": name, "threads": torch.get_num_threads(),
        "torch": torch.__version__, "python": platform.python_version(),
        "toprovar": __version__,
    }


def matmul_rate(dtype: torch.dtype, device: torch.device, size: int = 3072) -> float:
    """Operations a second of a large matrix product (2 n^3 over the median time)."""
    a = torch.randn(size, size, device=device).to(dtype)
    b = torch.randn(size, size, device=device).to(dtype)
    return 2 * size**3 / median(timed(lambda: a @ b, device, 7))


def timed(call: Callable[[], object], device: torch.device, runs: int, warmup: int = 1
          ) -> list[float]:
    """Seconds of each of ``runs`` calls after ``warmup`` more."""
    seconds = []
    for i in range(warmup + runs):
        synchronise(device)
        started = time.perf_counter()
        call()
        synchronise(device)
        if i >= warmup:
            seconds.append(time.perf_counter() - started)
    return seconds


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

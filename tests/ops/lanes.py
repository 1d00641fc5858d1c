"""Where and by which backend an operation is tried.

The same tests run in plain torch, through Triton's interpreter, and on a GPU where there is one.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import pytest
import torch

from toprovar.ops.triton_support import interpreting

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
"""Relative and absolute error of a value about 1 that was rounded to a dtype a few times."""


@dataclass(frozen=True)
class Lane:
    device: str
    backend: str


def _why_not_interpreter() -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    return None if interpreting() else "TRITON_INTERPRET is off: kernels are tried on the GPU"


def _why_no_gpu() -> str | None:
    if not torch.cuda.is_available():
        return "no CUDA device"
    return "TRITON_INTERPRET is on: kernels would not run on the GPU" if interpreting() else None


def _why_no_fp8_gpu() -> str | None:
    reason = _why_no_gpu()
    if reason is None and torch.cuda.get_device_capability() < (8, 9):
        reason = "8-bit numbers need a GPU of compute capability 8.9"
    return reason


def _skip(reason: str | None) -> pytest.MarkDecorator:
    return pytest.mark.skipif(reason is not None, reason=reason or "")


GPU_ONLY = [pytest.mark.gpu, _skip(_why_no_gpu())]
KERNEL_LANES = [
    pytest.param(Lane("cpu", "triton"), id="interpreter", marks=_skip(_why_not_interpreter())),
    pytest.param(Lane("cuda", "triton"), id="gpu", marks=GPU_ONLY),
]
LANES = [pytest.param(Lane("cpu", "torch"), id="torch"), *KERNEL_LANES]
FP8_LANES = [
    *LANES[:2],
    pytest.param(Lane("cuda", "triton"), id="gpu",
                 marks=[pytest.mark.gpu, _skip(_why_no_fp8_gpu())]),
]
"""For kernels that read or write 8-bit numbers."""


def some_index(rows: int | None, total: int, count: int, device: str) -> torch.Tensor:
    """``count`` of ``total`` tokens in random order: [count], or [rows, count]."""
    if rows is None:
        return torch.randperm(total)[:count].to(device)
    return torch.stack([torch.randperm(total)[:count] for _ in range(rows)]).to(device)


def poisoned(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> torch.Tensor:
    """Room for a result, full of NaN: a place that is never written shows."""
    return torch.full(shape, float("nan"), dtype=dtype, device=device)

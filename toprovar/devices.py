"""What this machine offers, and what a run will use unless told otherwise."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch

from .arguments import DTYPE_ALIASES, DTYPE_NAMES
from .ops import attention as attention_ops

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPE_NAMES}


def choose_device(name: str = "auto") -> torch.device:
    """ "auto": CUDA (or ROCm), else Apple's MPS, else the CPU; or a device by name."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"unknown device {name!r}; expected auto, cpu, cuda, cuda:1 or mps "
                         ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r} was asked for, but this torch "
                         f"({torch.__version__}) sees no CUDA device")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device 'mps' was asked for, but this torch has no MPS device")
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """ "auto": float32 on a CPU (exact), bfloat16 where the GPU has it, else float16."""
    name = DTYPE_ALIASES.get(name, name)
    if name == "auto":
        if device.type == "cpu":
            return torch.float32
        if device.type == "cuda" and torch.cuda.is_bf16_supported():
            return torch.bfloat16
        return torch.float16
    if name not in DTYPES:
        raise ValueError(f"unknown dtype {name!r}; expected auto, {', '.join(DTYPES)}")
    return DTYPES[name]


def free_memory(device: torch.device) -> int | None:
    """Free bytes on a device, where the system tells."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        import psutil
    except ImportError:
        return None
    return psutil.virtual_memory().available


def free_bytes(device: torch.device) -> int | None:
    """Bytes that this process can still allocate on a device: what the driver has free, within
    torch's limit for the process, and what torch holds unused. None where nobody can tell."""
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    reserved = torch.cuda.memory_reserved(device)
    share = getattr(torch.cuda, "get_per_process_memory_fraction", None)
    limit = total if share is None else int(share(device) * total)
    return max(0, min(free, limit - reserved)) + reserved - torch.cuda.memory_allocated(device)


def findings() -> dict[str, Any]:
    """Everything ``toprovar doctor`` reports, as data."""
    device = choose_device()
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += [f"cuda:{i} ({torch.cuda.get_device_name(i)}, compute capability "
                    f"{'.'.join(map(str, torch.cuda.get_device_capability(i)))})"
                    for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "devices": devices,
        "packages": {name: _version(name)
                     for name in ("diffusers", "transformers", "safetensors", "triton")},
        "attention": {backend: attention_ops.why_unavailable(backend, device) or "available"
                      for backend in attention_ops.BACKENDS},
        "use": {
            "device": str(device),
            "dtype": str(choose_dtype("auto", device)).removeprefix("torch."),
            "free_bytes": free_memory(device),
        },
    }


def _version(package: str) -> str | None:
    """Installed version without importing the package."""
    if importlib.util.find_spec(package) is None:
        return None
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown version"


OVERHEAD_SECONDS = 1e-3
"""What choosing tokens takes of a picture on a GPU, with room to spare."""
FLOPS_PER_PROCESSOR = 2e12
"""A second, in large half-precision products (H100: 3e12, RTX 3060: 1.4e12)."""


def least_saving(device: torch.device) -> float:
    """FLOPs that must be saved before leaving work out pays on ``device``: below it a GPU waits for
    launches, not for arithmetic."""
    if device.type == "cuda":
        processors = torch.cuda.get_device_properties(device).multi_processor_count
        return OVERHEAD_SECONDS * FLOPS_PER_PROCESSOR * processors
    return 1e9 if device.type == "cpu" else 1e11

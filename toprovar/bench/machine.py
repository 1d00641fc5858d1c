"""What this machine is, without anything that tells whose it is."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, cast

import torch

from .. import __version__
from .result import Machine, Versions

CPU_INFO = Path("/proc/cpuinfo")
UNKNOWN = "unknown"
_UNWANTED = re.compile(r"[\x00-\x1f\x7f/\\]+")


def describe_machine(device: torch.device) -> Machine:
    """The device and the computer around it."""
    name, memory, capability = processor_name(), _host_memory(), None
    if device.type == "cuda":
        about = torch.cuda.get_device_properties(device)
        name, memory = about.name, about.total_memory
        capability = f"{about.major}.{about.minor}"
    kind = cast(Literal["cuda", "cpu", "mps"], device.type)
    return Machine(device=kind, name=word(name), memory_bytes=memory, capability=capability,
                   system=word(platform.system()), processor=word(processor_name()),
                   cores=usable_cores(), threads=torch.get_num_threads())


def describe_versions(device: torch.device) -> Versions:
    """Of this package, torch, Triton, Python and the GPU's driver."""
    runtime = torch.version.cuda or torch.version.hip
    return Versions(
        toprovar=word(__version__), torch=word(torch.__version__), triton=_package("triton"),
        python=platform.python_version(),
        driver=_driver() if device.type == "cuda" else None,
        runtime=word(runtime) if runtime and device.type == "cuda" else None)


def word(text: object, most: int = 120) -> str:
    """Names as systems report them, without control characters and slashes, of bounded length."""
    return " ".join(_UNWANTED.sub(" ", str(text)).split())[:most] or UNKNOWN


def processor_name() -> str:
    """The model of the CPU. On Linux, ``platform.processor()`` is the architecture at best."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next((name for name in named if name), "") or platform.processor() \
        or platform.machine()


def usable_cores() -> int:
    """Cores that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))  # type: ignore[attr-defined,unused-ignore]  # Linux
    except AttributeError:
        return os.cpu_count() or 0


def _host_memory() -> int | None:
    try:
        import psutil
    except ImportError:
        return None
    return int(psutil.virtual_memory().total)


def _package(name: str) -> str | None:
    try:
        return word(version(name))
    except PackageNotFoundError:
        return None


def _driver() -> str | None:
    """The version of NVIDIA's driver, which torch does not tell."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        told = subprocess.run(
            [program, "--query-gpu=driver_version", "--format=csv,noheader"], text=True,
            capture_output=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    lines = told.split()
    return lines[0] if lines and re.fullmatch(r"[\d.]{1,20}", lines[0]) else None


class OtherWork:
    """Measures how many cores other programs use, from its making on."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._began, self._busy, self._own = now(), _busy_seconds(), _own_seconds()

    def cores(self) -> float | None:
        """In the mean so far; None = psutil, which knows it, is missing."""
        busy, took = _busy_seconds(), self._now() - self._began
        if busy is None or self._busy is None or took <= 0:
            return None
        return max(0.0, (busy - self._busy) - (_own_seconds() - self._own)) / took


def _busy_seconds() -> float | None:
    """CPU seconds of all programs since the machine was started."""
    try:
        import psutil
    except ImportError:
        return None
    times: Any = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    twice = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # in user and nice
    return sum(times) - idle - twice


def _own_seconds() -> float:
    """CPU seconds of this process."""
    return time.process_time()

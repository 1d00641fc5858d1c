"""``toprovar`` commands as processes of their own: what they take, from start to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
STEP = 0.25
"""Seconds between two looks at a process's memory."""


@dataclass(frozen=True)
class Ended:
    """A command that is over.

    Attributes:
        seconds: from its start to its end.
        memory: (pictures finished, resident bytes) at every look, where that was asked for.
    """

    seconds: float
    memory: tuple[tuple[int, int], ...] = ()


def command(arguments: Sequence[str], environment: Mapping[str, str] | None = None
            ) -> subprocess.Popen[bytes]:
    """Start one; what it says is thrown away, but for its errors."""
    # The checkout's toprovar is found by Ray's workers, too, which start elsewhere.
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, "-m", "toprovar", *arguments], stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths, **(environment or {})})


def ended(process: subprocess.Popen[bytes], began: float) -> Ended:
    """Wait for the end; a RuntimeError if it failed."""
    _, errors = process.communicate()
    seconds = time.perf_counter() - began
    if process.returncode:
        raise RuntimeError(f"{process.args} ended with {process.returncode}: "
                           f"{errors.decode(errors='replace')[-2000:]}")
    return Ended(seconds)


def one(arguments: Sequence[str]) -> Ended:
    """Run a command."""
    began = time.perf_counter()
    return ended(command(arguments), began)


def beside(each: Sequence[tuple[Sequence[str], Mapping[str, str]]]) -> Ended:
    """Run several at once, each with its environment; until the last is over."""
    began = time.perf_counter()
    started = [command(arguments, environment) for arguments, environment in each]
    return max((ended(process, began) for process in started), key=lambda done: done.seconds)


def watched(arguments: Sequence[str], manifest: Path) -> Ended:
    """Run one, and look at its memory as its manifest grows (Linux)."""
    began = time.perf_counter()
    process = command(arguments)
    looks: list[tuple[int, int]] = []
    while process.poll() is None:
        bytes_held, pictures = resident(process.pid), count_lines(manifest)
        if bytes_held and pictures:
            looks.append((pictures, bytes_held))
        time.sleep(STEP)
    return Ended(ended(process, began).seconds, tuple(looks))


def resident(process: int) -> int:
    """Bytes of memory that a process holds now; 0 if it is gone."""
    try:
        with open(f"/proc/{process}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def count_lines(manifest: Path) -> int:
    """Of a manifest, 0 before there is one."""
    try:
        return manifest.read_bytes().count(b"\n")
    except OSError:
        return 0


def lines(manifest: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]

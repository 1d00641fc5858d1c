"""``toprovar batch`` as a process of its own, to be killed."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 240
"""Seconds; a loaded machine takes its time."""


def write_rows(folder: Path, count: int) -> Path:
    path = folder / "rows.csv"
    path.write_text("prompt,seed\n" + "".join(f"a cat and a dog,{n}\n" for n in range(count)))
    return path


def start(rows: Path, out: Path, model: Path, *more: str, most_bytes: int | None = None
          ) -> subprocess.Popen[str]:
    """Args:
        most_bytes: that any file of the process may have.
    """
    def limit() -> None:
        # Python ignores the signal where its parent does, as shells do for jobs in the background
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    return subprocess.Popen(
        [sys.executable, "-m", "toprovar", "batch", str(rows), "--out", str(out), "--model",
         str(model), "--device", "cpu", *more],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=limit)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """(exit status, output, errors)"""
    out, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, out, errors


def until(there: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something that a running process does."""
    end = time.monotonic() + PATIENCE
    while not there():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.005)


def lines(out: Path) -> list[dict[str, Any]]:
    """Whole lines of the manifest."""
    path = out / "manifest.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def check_whole(out: Path, rows: int | None = None) -> None:
    """Every line's picture is there and whole; with ``rows``, each of them once."""
    found = lines(out)
    for line in found:
        if line["status"] == "drawn":
            with Image.open(out / line["file"]) as image:
                image.load()
    numbers = [line["row"] for line in found]
    assert len(set(numbers)) == len(numbers)
    if rows is not None:
        assert sorted(numbers) == list(range(1, rows + 1))
        assert {p.name for p in out.glob("*.??g")} == {line["file"] for line in found}
        assert not list(out.glob("*.tmp"))

"""What every unusable checkpoint must do: say why in one line, and leave nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from toprovar.checkpoints import CheckpointError, convert, inspect_checkpoint


def save(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def refused(path: Path, *parts: str) -> CheckpointError:
    """Loading and converting fail with one line holding the path and ``parts``; no file is left."""
    folder = path.parent
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    with pytest.raises(CheckpointError) as inspected:
        inspect_checkpoint(path)
    for name in ("out", "out.safetensors", "new/out.pth"):
        with pytest.raises(CheckpointError):
            convert([path], folder / name)
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before
    message = str(inspected.value)
    assert "\n" not in message and len(message) <= 1000
    assert str(folder) in message
    for part in parts:
        assert part in message, message
    return inspected.value

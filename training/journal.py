"""Log lines and picture sheets of a run."""

from __future__ import annotations

import json
import logging
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from training.data.files import replacing

log = logging.getLogger(__name__)
_CAPTION = 28


class Journal:
    """Appends JSON lines to ``log.jsonl`` and tells them to the log."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "log.jsonl"

    def write(self, kind: str, values: dict[str, Any]) -> None:
        rounded = {name: _rounded(value) for name, value in values.items()}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **rounded}) + "\n")
        log.info("%s %s", kind, " ".join(f"{name}={value}" for name, value in rounded.items()))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return value


def save_sheet(
    path: Path, images: Tensor, columns: int, captions: Sequence[str] | None = None
) -> None:
    """A grid of pictures, uint8 [N, 3, S, S] or float [-1, 1], with captions below them."""
    if images.dtype != torch.uint8:
        images = ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    images = images.cpu()
    count, size = images.shape[0], images.shape[-1]
    below = _CAPTION if captions else 0
    rows = -(-count // columns)
    sheet = Image.new("RGB", (columns * size, rows * (size + below)), "white")
    draw = ImageDraw.Draw(sheet)
    for index in range(count):
        left, top = index % columns * size, index // columns * (size + below)
        sheet.paste(Image.fromarray(images[index].permute(1, 2, 0).numpy()), (left, top))
        if captions:
            text = textwrap.fill(captions[index], max(8, size // 6))
            draw.multiline_text((left + 2, top + size + 1), text, fill="black", spacing=1)
    with replacing(path) as temporary:
        if path.suffix.lower() in (".jpg", ".jpeg"):
            sheet.save(temporary, format="JPEG", quality=88)
        else:
            sheet.save(temporary, format="PNG")

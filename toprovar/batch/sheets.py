"""Contact sheets of a batch: small pictures of all that was drawn, a hundred or so a sheet."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .storage import Storage

if TYPE_CHECKING:
    from PIL import Image

A_SHEET = 120
SIDE = 192
NAME = "contact-sheet"
QUALITY = 88


def write_sheets(storage: Storage, lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """Write contact-sheet.jpg, or contact-sheet-1.jpg and so on; their names.

    Args:
        lines: of the manifest, of pictures that are there.
    """
    from ..evaluation.grid import picture_grid
    from ..picture_files import encode_picture

    names = []
    parts = [lines[first : first + A_SHEET] for first in range(0, len(lines), A_SHEET)]
    for number, part in enumerate(parts, 1):
        captions = [f"{line['row']}: {line.get('prompt', '')}" for line in part]
        sheet = picture_grid([_small(storage, line["file"]) for line in part], captions, SIDE)
        content, _ = encode_picture(sheet, "JPEG", {
            "prompts": [line.get("prompt", "") for line in part]}, QUALITY)
        name = f"{NAME}.jpg" if len(parts) == 1 else f"{NAME}-{number}.jpg"
        names.append(storage.put(name, content))
    return names


def _small(storage: Storage, name: str) -> Image.Image:
    from PIL import Image

    with Image.open(io.BytesIO(storage.read(name))) as image:
        image.draft("RGB", (SIDE, SIDE))  # JPEG files are read at that size
        small = image.convert("RGB")
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return small

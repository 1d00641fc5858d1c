"""Drafts as small pictures with numbers in a node, and the choice among them in words."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .host import folder_paths, to_pil

if TYPE_CHECKING:
    from .drafts import Drafts

SUBFOLDER = "toprovar"
"""In ComfyUI's temporary folder."""
SIDE = 320
"""Most pixels of a small picture's side."""
ALL = "all"
_PART = re.compile(r"(\d+)(?:\s*-\s*(\d+))?")


def chosen(which: str, count: int) -> list[int]:
    """Numbers from 1, "all", "1,3-5", as places from 0 in the order given; nothing, as none.

    Raises:
        ValueError: names what is no such number.
    """
    text = which.strip()
    if text.lower() == ALL:
        return list(range(count))
    found: list[int] = []
    for part in filter(None, map(str.strip, text.split(","))):
        match = _PART.fullmatch(part)
        first, last = (int(n) for n in (match[1], match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last <= count:
            raise ValueError(f"which must name drafts from 1 to {count}, such as \"1,3-5\" or "
                             f"\"{ALL}\", got {part!r}")
        found += range(first - 1, last)
    twice = [n for n in found if found.count(n) > 1]
    if twice:
        raise ValueError(f"which names draft {twice[0] + 1} twice: {which!r}")
    return found


def which_error(which: Any) -> str | None:
    """What is wrong with the widget's text, whatever the count; None if nothing is."""
    if not isinstance(which, str):  # over a link
        return None
    try:
        chosen(which, 1 << 30) if which.strip().lower() != ALL else None
    except ValueError:
        return f'which must name drafts, such as "1,3-5" or "{ALL}", got {which!r}'
    return None


def shown(drafts: Drafts, which: Sequence[int] = (), done: str = "") -> dict[str, Any]:
    """What a node sends to its panel.

    Args:
        which: those that were finished.
        done: a line beneath; "" = what the drafts are.
    """
    from ...toprovar.editing.draft_file import draft_to_bytes

    name = hashlib.sha256(draft_to_bytes(drafts.draft)).hexdigest()[:20]
    folder = Path(folder_paths.get_temp_directory()) / SUBFOLDER
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, picture in enumerate(drafts.pictures):
        file = folder / f"{name}_{number}.webp"
        if not file.exists():
            small = to_pil(picture)
            small.thumbnail((SIDE, SIDE))
            small.save(file, "WEBP", quality=90)
        files.append({"filename": file.name, "subfolder": SUBFOLDER, "type": "temp"})
    height, width = drafts.draft.schedule.image_size
    text = done or drafts.about
    return {"toprovar_drafts": [{"images": files, "captions": drafts.captions,
                                 "size": [width, height], "which": [n + 1 for n in which],
                                 "about": text}],
            "text": [text]}

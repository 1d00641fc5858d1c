"""Infinity or VAREdit: what a file's name may hint at, and what only its user can say.

VAREdit (HiDream-ai/VAREdit) edits a picture by an instruction. Its files hold the very names and
shapes of Infinity's, so nothing in them tells which they are, nor for which size they were trained.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..models.config import FAMILIES, INFINITY, VAREDIT
from .errors import CheckpointError

_NAMED = re.compile(r"(?<![a-z])var[ _-]?edit", re.IGNORECASE)
_OFFICIAL = re.compile(r"[28]b-(512|1024)(\.\w+)?", re.IGNORECASE)
"""``8B-512.pth``, ``8B-1024.pth`` and ``2B-512.pth``, as the official code names them."""
_SIZES = {"512": "0.25M", "1024": "1M"}


def check_family(family: str | None) -> None:
    """Refuse a family that there is none of.

    Raises:
        ValueError: it is neither None nor one of ``FAMILIES``.
    """
    if family not in (None, *FAMILIES):
        raise ValueError(f"family must be one of {', '.join(FAMILIES)}, got {family!r:.80}")


def hints_at_varedit(path: Path) -> bool:
    """Whether a file or its folder is named as VAREdit's are."""
    return bool(_OFFICIAL.fullmatch(path.name) or _NAMED.search(path.name)
                or _NAMED.search(path.absolute().parent.name))


def family_of(path: Path, family: str | None) -> str:
    """The family of a transformer whose files do not say it: what was asked for, else Infinity.

    Raises:
        CheckpointError: nothing was asked for, and the name is one of VAREdit's.
    """
    if family is not None:
        return family
    if hints_at_varedit(path):
        raise CheckpointError(
            path, "its name hints at VAREdit, which edits pictures, but weights do not show it: "
            f"say which it is, family={VAREDIT!r} or family={INFINITY!r} (on the command line "
            f"--family {VAREDIT} or --family {INFINITY})")
    return INFINITY


def size_hint(path: Path) -> str | None:
    """The pixel budget that a VAREdit file's name tells ("0.25M" of ``8B-512.pth``), if any."""
    found = re.search(r"(?<!\d)(512|1024)(?!\d)", path.name)
    return _SIZES[found[1]] if found else None

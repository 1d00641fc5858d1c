"""Files that come with the package, and files that are whole or absent."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

DATA = Path(__file__).parent / "data"
"""By place, not by the package's name: in ComfyUI it has another."""


def cache_folder() -> Path:
    """Where measurements are kept: $TOPROVAR_CACHE, or the user's cache folder."""
    own = os.environ.get("TOPROVAR_CACHE")
    if own:
        return Path(own)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "toprovar"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "toprovar"


def calibration_folders() -> tuple[Path, Path]:
    """Where calibrations of models are looked for: in the box, and in the user's folder."""
    return DATA / "calibrations", cache_folder() / "calibrations"


def replace_file(path: str | Path, content: bytes, staging: str | Path | None = None) -> None:
    """Write beside ``path`` and move into place, so that no half file is ever seen.

    Args:
        staging: write in this folder of the same disk instead, for folders in which a file that a
            killed process left behind would be taken for one of the others.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=staging or path.absolute().parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise

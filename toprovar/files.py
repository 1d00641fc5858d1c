"""Files that come with the package, and files that are whole or absent."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from pathlib import Path

DATA = Path(__file__).parent / "data"
"""By place, not by the package's name: in ComfyUI it has another."""
PIPELINE_INDEX = "model_index.json"
_ADDED: list[Path] = []


def cache_folder() -> Path:
    """Where measurements are kept: $TOPROVAR_CACHE, or the user's cache folder."""
    own = os.environ.get("TOPROVAR_CACHE")
    if own:
        return Path(own)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "toprovar"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "toprovar"


def calibration_folders() -> tuple[Path, ...]:
    """Where calibrations of models are looked for: in the box, in the user's folder, and in those
    that were added."""
    return DATA / "calibrations", cache_folder() / "calibrations", *_ADDED


def add_calibration_folder(path: str | Path) -> None:
    """Look for calibrations in one more folder, from now on in this process; harmless when
    repeated."""
    if Path(path) not in _ADDED:
        _ADDED.append(Path(path))


def check_pipeline_folder(folder: str | Path) -> Path:
    """The folder's index; a ValueError if it holds no pipeline."""
    index = Path(folder) / PIPELINE_INDEX
    if not index.is_file():
        raise ValueError(
            f"{str(folder)!r} is not a pipeline folder (it has no {PIPELINE_INDEX}); make one "
            "from official checkpoints with 'toprovar convert'"
        )
    return index


def replace_file(path: str | Path, content: bytes, staging: str | Path | None = None) -> None:
    """Write beside ``path`` and move into place, so that no half file is ever seen.

    A link is followed. What is no regular file (a device, a pipe) is written to. A new file gets
    the rights that the umask leaves; one that is replaced keeps its own.

    Args:
        staging: write in this folder of the same disk instead, for folders in which a file that a
            killed process left behind would be taken for one of the others.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        path.write_bytes(content)  # which refuses a folder
        return
    temporary = Path(staging or path.parent) / f".{path.name[:200]}.{secrets.token_hex(4)}.tmp"
    try:
        with temporary.open("xb") as file:
            file.write(content)
        if path.exists():
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

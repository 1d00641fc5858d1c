"""The index of a pipeline folder: what it says about sampling, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..files import check_pipeline_folder
from ..schedules import pixel_budgets
from .errors import CheckpointError
from .reader import read_json

_MOST = 1_000_000


def refuse_code_files(folder: Path) -> None:
    """Refuses a folder with Python files where diffusers would look for code to run.

    Raises:
        CheckpointError: names the file.
    """
    for file in sorted((*folder.glob("*.py"), *folder.glob("*/*.py"))):
        raise CheckpointError(file, "Python code of a pipeline's own, which is never run; remove "
                              "it if the model works without")


def read_defaults(folder: Path) -> dict[str, Any]:
    """The entries ``default_pn``, ``default_cfg`` and ``default_tau`` that a folder has.

    Raises:
        ValueError: it is no pipeline folder.
        CheckpointError: an entry is impossible.
    """
    file = check_pipeline_folder(folder)
    found = {k: v for k, v in read_json(file).items() if k.startswith("default_")}
    for key, value in found.items():
        if key == "default_pn":
            ok, expected = value in pixel_budgets(), "one of " + ", ".join(pixel_budgets())
        elif key in ("default_cfg", "default_tau"):
            ok = isinstance(value, (int, float)) and not isinstance(value, bool)
            ok, expected = ok and 0 <= value < _MOST, f"a number from 0 to {_MOST}"
        else:
            ok, expected = False, "default_pn, default_cfg or default_tau"
        if not ok:
            raise CheckpointError(file, "not a setting of this pipeline", key=key,
                                  expected=expected, found=repr(value)[:80])
    return found

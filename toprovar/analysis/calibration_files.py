"""Where calibrations are kept: results in a folder that people see, measurements to go on from in
the cache."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from ..entropy.calibration import shortcuts_beside
from ..files import cache_folder, calibration_folders
from ..schedules import ScaleSchedule
from ..sparsity.shortcuts import Shortcuts
from .calibrate import Result
from .findings import Findings

logger = logging.getLogger(__name__)

FINDINGS, SHORTCUTS = "findings.json", "shortcuts.safetensors"


def result_file(name: str, model: str, schedules: Sequence[ScaleSchedule],
                folder: str | Path | None = None) -> Path:
    """Where a model's calibration for these sizes goes by default.

    Args:
        name: of the model, for the reader; model: fingerprint.
        folder: None = the user's folder of calibrations.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "infinity"
    sizes = "-".join(dict.fromkeys(s.pn for s in schedules))
    shape = schedules[0].template if schedules else "1.0"
    sizes += "" if float(shape) == 1 else f"-aspect-{shape}"
    return Path(folder or calibration_folders()[1]) / f"{plain}-{model[-8:]}-{sizes}.json"


def save_result(result: Result, path: str | Path) -> list[Path]:
    """Write a calibration, and its shortcuts beside it; the files that were written.

    Raises:
        ValueError: there is too little for a calibration.
    """
    if result.calibration is None:
        raise ValueError("nothing was measured yet that a calibration could be made of")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    written = [path]
    if result.calibration.shortcuts and result.shortcuts:
        # First: a calibration must not name what is not there.
        written.append(shortcuts_beside(path))
        result.shortcuts.save(written[1])
    result.calibration.save(path)
    return written


def progress_folder(findings: Findings) -> Path:
    """Where measurements of the same model, pictures and sizes lie."""
    about = f"{findings.model} {findings.jobs} {sorted(findings.schedules)}"
    digest = hashlib.sha256(about.encode()).hexdigest()[:16]
    return cache_folder() / "calibrating" / digest


def save_progress(result: Result) -> None:
    """Keep measurements for the next calibration to go on from."""
    folder = progress_folder(result.findings)
    folder.mkdir(parents=True, exist_ok=True)
    if result.all_shortcuts and not (folder / SHORTCUTS).is_file():
        result.all_shortcuts.save(folder / SHORTCUTS)
    result.findings.save(folder / FINDINGS)


def load_progress(wanted: Findings) -> tuple[Findings | None, Shortcuts | None]:
    """Measurements of the same model, pictures and sizes, and the shortcuts that were fitted then;
    None where there are none. Damaged files are named in a warning and passed over."""
    folder = progress_folder(wanted)
    try:
        if not (folder / FINDINGS).is_file():
            return None, None
        found = Findings.load(folder / FINDINGS)
        if not found.fits(wanted):
            return None, None
        shortcuts = Shortcuts.load(folder / SHORTCUTS) if found.shortcuts else None
        return found, shortcuts
    except ValueError as error:
        logger.warning("an earlier calibration is not gone on from: %s", error)
        return None, None


def forget_progress(wanted: Findings) -> None:
    """Begin anew the next time."""
    folder = progress_folder(wanted)
    for name in (FINDINGS, SHORTCUTS):
        (folder / name).unlink(missing_ok=True)

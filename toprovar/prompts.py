"""Prompts that come with the package, for measuring what a model can leave out.

The order of the general ones matters: whoever measures on fewer takes the first, and every eight
successive lines differ in subject, length, style and kind of writing.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path

from .arguments import check_prompts
from .files import DATA
from .reading import read_json, read_text, reading

logger = logging.getLogger(__name__)

GENERAL = DATA / "prompts" / "general.txt"
"""For models that draw anything."""
EMBEDDED = DATA / "calibrations" / "infinity-emoji-prompts.txt"
"""For the embedded model, which knows a small world only."""
EMBEDDED_CALIBRATION = DATA / "calibrations" / "infinity-emoji.json"
"""Says which weights are the embedded model's."""
MOST_BYTES = 16 << 20
REMEDY = "reinstall the package"


def bundled_prompts(model: str | None = None) -> tuple[str, ...]:
    """The prompts to calibrate a model on: the embedded model's own, or the general ones.

    Args:
        model: fingerprint of the transformer, None if not known.

    Raises:
        ValueError: the file is missing or damaged.
    """
    return _read(EMBEDDED if model and model == _embedded_model() else GENERAL)


@lru_cache(maxsize=4)
def _read(path: Path) -> tuple[str, ...]:
    """The lines of a file but empty ones and those that begin with #."""
    with reading(path, "file of prompts", REMEDY):
        lines = [line.strip() for line in read_text(path, MOST_BYTES).splitlines()]
        return tuple(check_prompts(
            "prompts", [line for line in lines if line and not line.startswith("#")]))


@lru_cache(maxsize=1)
def _embedded_model() -> str | None:
    """Fingerprint of the embedded model. None if its calibration cannot be read: other models are
    calibrated without it."""
    try:
        with reading(EMBEDDED_CALIBRATION, "calibration", REMEDY):
            return read_json(EMBEDDED_CALIBRATION, MOST_BYTES)["model"]
    except ValueError as error:
        logger.warning("the embedded model is not told from others: %s", error)
        return None

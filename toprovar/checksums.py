"""SHA-256 of files, and JSON values that carry their own.

Values are compared as they are read: how a file is indented, or ends its lines, does not matter.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

OWN = "sha256"
"""The entry of sealed values that is the SHA-256 of all others, 64 hexadecimal digits."""


def sealed(values: dict[str, Any]) -> dict[str, Any]:
    """JSON values with their SHA-256 in front, under ``OWN``."""
    return {OWN: _digest(values), **values}


def unsealed(values: Any) -> Any:
    """The values without their SHA-256; what carries none is returned as it is.

    Raises:
        ValueError: they are not those that were sealed.
    """
    if not isinstance(values, dict) or OWN not in values:
        return values
    own = {name: value for name, value in values.items() if name != OWN}
    if values[OWN] != _digest(own):
        raise ValueError(f"its contents are not those that were saved ({OWN!r} says so; without "
                         "that entry a file changed on purpose is read)")
    return own


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits; an OSError if it cannot be read."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _digest(values: dict[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()

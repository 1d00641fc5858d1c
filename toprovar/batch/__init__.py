"""Many pictures: rows in, pictures and a manifest out, in one process or on a Ray cluster.

Importing this is cheap; docs/guide/batches.md says how it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_LAZY = {"Batch": ".local", "Summary": ".local", "Settings": ".jobs", "ModelSource": ".source",
         "Row": ".rows", "BadRow": ".rows", "read_rows": ".row_files", "run": ".on_ray"}

__all__ = ["BadRow", "Batch", "ModelSource", "Row", "Settings", "Summary", "read_rows", "run"]

if TYPE_CHECKING:
    from .jobs import Settings as Settings
    from .local import Batch as Batch
    from .local import Summary as Summary
    from .on_ray import run as run
    from .row_files import read_rows as read_rows
    from .rows import BadRow as BadRow
    from .rows import Row as Row
    from .source import ModelSource as ModelSource


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""A worker whose cases do what a damaged file might: to see that the harness sees it."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from . import cases, worker
from .kinds import Kind


def _read(path: Path, pipeline: Any) -> None:
    """What the first byte of the file says."""
    what = path.read_bytes()[:1]
    if what == b"c":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif what == b"h":
        time.sleep(600)
    elif what == b"m":
        bytearray(worker.MORE_BYTES * 16)
    elif what == b"t":
        {}[what]
    elif what == b"u":
        raise ValueError("not raised by the package")


ROGUE = {what: Kind("plan.json", lambda _, rng, what=what: what.encode(), _read)
         for what in ("crash", "hang", "memory", "traceback", "unknown", "accepted")}
TABLES: dict[str, Any] = {"FILES": ROGUE, "ALL": list(ROGUE), "WEIGHTS": [1.0] * len(ROGUE)}
"""In place of those of ``cases``."""

if __name__ == "__main__":
    for name, table in TABLES.items():
        setattr(cases, name, table)
    worker.main(int(sys.argv[1]))

"""Runs cases one after the other in a process of its own: numbers in, one line of JSON each out.

    python -m tests.fuzz.worker SEED
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import os
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import psutil
import torch

from .cases import run_case
from .originals import make_originals

MORE_BYTES = 2 << 30
"""Of address space that a case may take on top of what the process has."""


def limit_memory(more: int = MORE_BYTES) -> None:
    """Where the system can (not on Windows)."""
    with contextlib.suppress(ImportError):
        import resource

        limit = psutil.Process().memory_info().vms + more
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(seed: int) -> None:
    channel = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what a case prints is not an answer
    faulthandler.enable()
    warnings.simplefilter("ignore")
    logging.disable()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        originals, place = Path(folder) / "originals", Path(folder) / "case"
        os.environ["TOPROVAR_CACHE"] = str(Path(folder) / "cache")
        originals.mkdir()
        pipeline = make_originals(originals)
        channel.write(json.dumps({"ready": folder}) + "\n")
        channel.flush()
        for line in sys.stdin:
            place.mkdir()
            limit_memory()
            result = run_case(seed, int(line), originals, place, pipeline)
            channel.write(json.dumps(result.to_json()) + "\n")
            channel.flush()
            shutil.rmtree(place)


if __name__ == "__main__":
    main(int(sys.argv[1]))

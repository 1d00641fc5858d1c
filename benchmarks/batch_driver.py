"""What the one process that keeps the manifest can keep up with: rows, lines and files a second.

  python -m benchmarks.batch_driver --out driver.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.batch_processes import resident
from benchmarks.machine import describe
from toprovar.batch import Row, Settings
from toprovar.batch.jobs import Job, make_jobs
from toprovar.batch.manifest import DRAWN, Manifest
from toprovar.files import replace_file

PICTURE = 2000
"""Bytes of the files that stand for pictures: making and moving one is measured, not the disk."""


def line(job: Job) -> dict[str, Any]:
    """Of a picture at 1024 px."""
    return {"row": job.row, "picture": job.picture, "id": job.id, "status": DRAWN,
            "file": f"{job.name}.webp", "bytes": 250_000, "width": 1024, "height": 1024,
            "seed": job.seed, "together": 8, "seconds": 0.1231, "prompt": job.prompt}


def measure(rows: int, files: int, folder: Path) -> dict[str, Any]:
    """Args:
        rows: of a batch; files: written into one folder.
    """
    def rate(count: int, call: Callable[[], object]) -> float:
        began = time.perf_counter()
        call()
        return count / (time.perf_counter() - began)

    before = resident(os.getpid())
    asked = [Row(i + 1, f"a photo of thing number {i} on a table", seed=i) for i in range(rows)]
    jobs = [job for job in make_jobs(asked, Settings()) if isinstance(job, Job)]
    path = folder / "manifest.jsonl"
    manifest = Manifest(path)

    def append() -> None:
        for job in jobs:
            manifest.append(line(job))

    def write() -> None:
        for job in jobs[:files]:
            replace_file(folder / f"{job.name}.webp", b"x" * PICTURE)

    found: dict[str, Any] = {"rows": rows, "lines_written_per_second": rate(rows, append)}
    found["bytes_of_a_row_in_memory"] = (resident(os.getpid()) - before) / rows
    manifest.close()
    found["bytes_of_a_line"] = path.stat().st_size / rows
    found["lines_read_per_second"] = rate(rows, lambda: Manifest(path).close())
    found["files_per_second"] = rate(files, write)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="result, JSON")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--files", type=int, default=20_000)
    given = parser.parse_args(argv)
    arguments = " ".join(sys.argv[1:] if argv is None else argv)
    with tempfile.TemporaryDirectory(prefix="toprovar-driver-") as folder:
        found = measure(given.rows, given.files, Path(folder))
    result = {"command": f"python -m benchmarks.batch_driver {arguments}",
              "machine": describe(torch.device("cpu")), **found}
    replace_file(given.out, (json.dumps(result, indent=1) + "\n").encode())
    print(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

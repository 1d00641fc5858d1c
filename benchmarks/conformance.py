"""The engine against recordings of the official code, summed up.

    python -m benchmarks.conformance ../shared/fixtures [--json FILE]

``toprovar conformance`` prints every comparison; this keeps what the README says of them: how many
tensors are within their limits, how many bits differ, and the largest difference of each kind.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from toprovar.conformance import ConformanceReport, check_folder
from toprovar.devices import choose_device
from toprovar.files import replace_file


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of fixture families")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    device = choose_device(given.device)
    report = check_folder(given.folder, device)
    found = {
        "command": " ".join(["python -m benchmarks.conformance", *sys.argv[1:]]),
        "machine": describe(device), **summary(report),
    }
    text = json.dumps(found, indent=1)
    print(text)
    if given.json:
        replace_file(given.json, (text + "\n").encode())
    return 0 if report.passed else 1


def summary(report: ConformanceReport) -> dict[str, Any]:
    """Counts, and for each kind of tensor its number and largest absolute difference; of bits,
    how many differ in all."""
    kinds: dict[str, dict[str, float]] = {}
    for check in report.checks:
        # "infinity_1m/runs/greedy logits.3" -> "logits"
        kind = check.name.rsplit(" ", 1)[-1].split(".")[0].rsplit("/", 1)[-1]
        own = kinds.setdefault(kind, {"tensors": 0, "largest": 0.0, "limit": check.limit})
        own["tensors"] += 1
        own["largest"] = max(own["largest"], check.difference)
    bits = [c for c in report.checks if " bits." in c.name]
    return {
        "tensors": len(report.checks), "within": len(report.checks) - len(report.misses),
        "bits_that_differ": sum(c.difference for c in bits),
        "near_ties": sum(int(c.note.split()[0]) for c in bits if "near-ties" in c.note),
        "kinds": kinds,
    }


if __name__ == "__main__":
    raise SystemExit(main())

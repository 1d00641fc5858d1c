"""What the demo needs: memory of the process, and disk for the packages and this repository.

    python -m benchmarks.footprint --out benchmarks/results/footprint-cpu.json

The demo is ``toprovar generate "a red apple"`` on a CPU, in a process of its own, whose largest
resident memory counts. Packages are those of requirements.txt and what they require in turn, with
the files that they have installed here. The repository is the files that git lists.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.machine import describe
from toprovar.files import replace_file

ROOT = Path(__file__).resolve().parents[1]


def demo_memory() -> int:
    """Bytes that the demo has in memory at most."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "toprovar", "generate", "a red apple", "--seed", "1",
                   "--device", "cpu", "--quiet", "--out", str(Path(folder) / "demo.png")]
        subprocess.run(command, cwd=ROOT, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit


def packages() -> dict[str, int]:
    """Bytes of every package that the demo needs."""
    sizes: dict[str, int] = {}
    todo = [Requirement(line) for line in (ROOT / "requirements.txt").read_text().split("\n")
            if line.strip() and not line.startswith("#")]
    while todo:
        name = canonicalize_name(todo.pop().name)
        if name in sizes:
            continue
        found = importlib.metadata.distribution(name)
        files = [Path(str(found.locate_file(file))) for file in found.files or ()]
        sizes[name] = sum(path.stat().st_size for path in files if path.is_file())
        for text in found.requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                todo.append(needed)
    return sizes


def repository() -> int:
    """Bytes of the files that git lists."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True)
    names = listed.stdout.decode().split("\0")
    return sum(path.stat().st_size for name in names if name and (path := ROOT / name).is_file())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    memory = demo_memory()  # before another child could be larger
    sizes = packages()
    result: dict[str, Any] = {
        "command": "python -m benchmarks.footprint " + " ".join(sys.argv[1:]),
        "machine": describe(torch.device("cpu")),
        "demo_memory_bytes": memory, "packages_bytes": sum(sizes.values()),
        "repository_bytes": repository(),
        "largest_packages": dict(sorted(sizes.items(), key=lambda one: -one[1])[:5]),
    }
    replace_file(arguments.out, (json.dumps(result, indent=1) + "\n").encode())
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

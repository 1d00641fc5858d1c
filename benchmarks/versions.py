"""Whether the lowest version that requirements.txt allows of each package works, and the newest.

    python -m benchmarks.versions --torch lowest --torch 2.9.1 --python 3.10 --python 3.13 \\
        --json benchmarks/results/versions.json

For every combination: a virtual environment of its own, the packages by pip, and the embedded model
draws one picture of 256 pixels through ``from_folder``, ``from_pretrained`` and the command line,
which must be equal, one by a ToProVAR plan, and one without random numbers (greedy). They are
compared with those that this environment draws. What a combination does not name comes from this
environment, which is seen through a .pth file; so torch is not installed again. A combination that
names torch, or another Python, gets all anew: what it does not name is what pip chooses, as for a
new user.

``make versions`` is this command, for a scheduled lane (a new torch takes 3 to 6 GB of disk while
its row runs). It ends with 1 if a combination fails, or its greedy picture is another one.
``--table FILE`` prints the table of an earlier run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from packaging.requirements import Requirement

from .machine import describe

ROOT = Path(__file__).resolve().parents[1]
USUAL = {"transformers": "4.57.6", "diffusers": "0.35.2", "huggingface_hub": "0.36.0"}
"""What many ComfyUI installations have."""
LOWEST = "lowest"
FAILS, OTHER = "fails", "another picture"
CLOSE = 2
"""Levels of 255 by which a picture without random numbers may differ: sums are ordered otherwise in
another torch."""
SMOKE = """
import contextlib, io, json, sys, tempfile
from importlib.metadata import version
from pathlib import Path
import torch
torch.set_num_threads(1)
import toprovar.pipeline
import numpy as np
from PIL import Image
from toprovar import InfinityPipeline, bundled_model
from toprovar.cli import main
how = {"seed": 1, "height": 256, "width": 256}
pictures = []
for load in (InfinityPipeline.from_folder, InfinityPipeline.from_pretrained):
    pipeline = load(bundled_model(), torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    pictures.append(pipeline("a red apple", **how).images[0])
greedy = pipeline("a red apple", greedy=True, **how).images[0]
with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
    for plan in ([], ["--budget", "0.7"]):
        out = f"{folder}/{len(plan)}.png"
        assert main(["generate", "a red apple", "--seed", "1", "--size", "256x256",
                     "--device", "cpu", "--dtype", "float32", "--out", out, *plan]) == 0
        pictures.append(Image.open(out).copy())
planned = pictures.pop()
assert all(p.tobytes() == pictures[0].tobytes() for p in pictures), "three ways, other pictures"
np.savez(sys.argv[1], drawn=pictures[0], planned=planned, greedy=greedy)
versions = {"python": sys.version.split()[0], **{name: version(name) for name in sys.argv[2:]}}
print(json.dumps(versions))
"""


@dataclass(frozen=True)
class Combination:
    """What is to be installed.

    Attributes:
        wanted: package -> version.
        python: of the interpreter, such as "3.10"; None = this one.
    """

    name: str
    wanted: dict[str, str] = field(default_factory=dict)
    python: str | None = None

    @property
    def anew(self) -> bool:
        return self.python is not None or "torch" in self.wanted


def requirements() -> dict[str, str]:
    """Package -> lowest version, of requirements.txt."""
    found = {}
    for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines():
        one = Requirement(line)
        if one.marker is None or one.marker.evaluate():
            (found[one.name],) = (s.version for s in one.specifier if s.operator == ">=")
    return found


def combinations(torches: Sequence[str], pythons: Sequence[str]) -> list[Combination]:
    lowest = requirements()
    lowest_torch = lowest.pop("torch")
    torches = [lowest_torch if t == LOWEST else t for t in torches]
    found = [Combination("as installed")]
    found += [Combination("lowest of all but torch", lowest),
              Combination("usual in ComfyUI", dict(USUAL))]
    found += [Combination(f"Python {p}", {}, p) for p in pythons]
    found += [Combination(f"torch {t}", {"torch": t}) for t in torches]
    if lowest_torch in torches:
        every = {"torch": lowest_torch, **lowest}
        found += [Combination("lowest of all", every)]
        found += [Combination(f"Python {p}, lowest of all", every, p) for p in pythons[:1]]
    found += [Combination(f"lowest {name}", {name: one}) for name, one in lowest.items()]
    return found


def interpreter(version: str | None) -> str:
    """An executable of a Python version."""
    if version is None:
        return sys.executable
    # The places of pyenv first: its "python3.10" on the path may be a stub.
    for name in (*map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python")),
                 f"python{version}"):
        if found := shutil.which(name):
            return found
    raise FileNotFoundError(f"no Python {version} is at hand")


def make_environment(one: Combination, folder: Path) -> Path:
    """A virtual environment; its interpreter."""
    subprocess.run([interpreter(one.python), "-m", "venv", str(folder)], check=True,
                   capture_output=True, text=True)
    windows = os.name == "nt"
    python = folder / ("Scripts/python.exe" if windows else "bin/python")
    pinned = one.wanted if one.anew else {"torch": torch.__version__, **one.wanted}
    wanted = [f"{name}=={version}" for name, version in pinned.items()]
    # All of them, so that pip chooses what goes together.
    wanted += [line for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
               if Requirement(line).name not in pinned]
    if not one.anew:
        found = subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path("
                                "'purelib'))"], check=True, capture_output=True, text=True)
        place = Path(found.stdout.strip()) / "beneath.pth"
        place.write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    if one.wanted or one.anew:
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                        *wanted], check=True, capture_output=True, text=True, timeout=1800)
    return python


def draw(python: str | Path, picture: Path) -> dict[str, str]:
    """Draw in an environment; the versions that were used."""
    names = [*requirements(), "huggingface_hub", "tokenizers"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([python, "-c", SMOKE, str(picture), *names], check=True, env=env,
                          capture_output=True, text=True, timeout=900, cwd=picture.parent)
    return json.loads(done.stdout.splitlines()[-1])


def compared(own: Path, other: Path) -> tuple[str, dict[str, int]]:
    """How pictures differ from this environment's: in words, and by how many of 255 each."""
    import numpy as np

    with np.load(own) as a, np.load(other) as b:
        apart = {name: int(abs(a[name].astype(int) - b[name]).max()) for name in a}
    most = max(apart.values())
    if apart["greedy"] > CLOSE:
        return OTHER, apart
    if most > CLOSE:
        return "other random numbers; without any: " + _words(apart["greedy"]), apart
    return _words(most), apart


def _words(apart: int) -> str:
    return f"differs by at most {apart} of 255" if apart else "equal"


def attempt(one: Combination, reference: Path, folder: Path) -> dict[str, Any]:
    """Install, draw and compare; what came of it, as JSON."""
    begin = time.perf_counter()
    row: dict[str, Any] = {**asdict(one)}
    stage = "not to be had"
    try:
        python = make_environment(one, folder)
        stage = FAILS
        row["versions"] = draw(python, folder / "pictures.npz")
        row["outcome"], row["apart"] = compared(reference, folder / "pictures.npz")
    except (subprocess.SubprocessError, FileNotFoundError) as error:
        told = getattr(error, "stderr", None) or str(error)
        told = told.decode() if isinstance(told, bytes) else told
        row |= {"outcome": stage, "why": told.strip().splitlines()[-1][:300]}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return row | {"seconds": round(time.perf_counter() - begin, 1)}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    shown = ("torch", "transformers", "diffusers", "numpy")
    lines = [f"| combination | Python | {' | '.join(shown)} | the picture |",
             "|---" * (len(shown) + 3) + "|"]
    for row in rows:
        versions = row.get("versions", {})
        cells = [versions.get(name, row["wanted"].get(name, "-")) for name in shown]
        outcome = row["outcome"] + (f": `{row['why']}`" if "why" in row else "")
        lines.append(f"| {row['name']} | {versions.get('python', row['python'] or '-')} | "
                     f"{' | '.join(cells)} | {outcome} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versions")
    add = parser.add_argument
    add("--torch", action="append", default=[], metavar="VERSION",
        help="also this torch, installed anew with all it needs; may be given more than once")
    add("--python", action="append", default=[], metavar="VERSION",
        help="also this Python, such as 3.10, with everything anew")
    add("--only", metavar="TEXT", help="combinations whose name holds this")
    add("--json", metavar="FILE", help="write the rows")
    add("--table", metavar="FILE", help="only print the table of rows that were written before")
    arguments = parser.parse_args(argv)
    if arguments.table:
        print(table(json.loads(Path(arguments.table).read_text(encoding="utf-8"))["rows"]))
        return 0
    rows = []
    with tempfile.TemporaryDirectory(prefix="versions-") as folder:
        reference = Path(folder) / "reference.npz"
        draw(sys.executable, reference)
        for i, one in enumerate(combinations(arguments.torch, arguments.python)):
            if arguments.only and arguments.only not in one.name:
                continue
            rows.append(attempt(one, reference, Path(folder) / str(i)))
            print(f"{one.name}: {rows[-1]['outcome']} {rows[-1].get('why', '')}", flush=True)
    print(f"\n{table(rows)}")
    if arguments.json:
        told = {"machine": describe(torch.device("cpu")), "rows": rows}
        Path(arguments.json).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return 1 if any(row["outcome"] in (FAILS, OTHER) for row in rows) else 0


if __name__ == "__main__":
    raise SystemExit(main())

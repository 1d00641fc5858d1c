"""``toprovar bench``: a short, honest benchmark of this machine."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import whole
from ..files import check_pipeline_folder, replace_file
from ..printable import printable
from .early import check_device, check_target
from .outputs import BENCH, Output, add_overwrite, check_outputs

if TYPE_CHECKING:
    import torch

    from ..bench.subjects import Loaded

MOST_SECONDS = 120
FINISH = 2.0
"""Seconds kept for the end, of a short run a fifth."""
SMALL = "0.06M"
"""Pixels without a GPU."""
GPU_SHAPE = "2b"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--model", metavar="DIR", help="pipeline folder (default: --shape 2b on an NVIDIA GPU, the "
        "embedded model elsewhere)")
    add("--shape", metavar="NAME", help="in place of a model: random weights in the shape of 125m, "
        "2b, 8b or another variant; nothing is downloaded (default: none)")
    add("--pixels", "--pn", metavar="PN", help="pixel budget: 0.06M, 0.25M, 0.60M or 1M (default: "
        f"the model's on an NVIDIA GPU, {SMALL} elsewhere)")
    add("--device", default="auto", help="cpu, cuda, cuda:1 or mps (default: auto)")
    add("--seconds", type=int, default=MOST_SECONDS, metavar="N",
        help=f"of the whole run, loading included, 5 to {MOST_SECONDS} (default: {MOST_SECONDS})")
    add("--out", metavar="FILE.json", help="write a file that can be posted: it names device, "
        "versions, settings and times, and nobody; it is shown before it is written (default: "
        "nowhere)")
    add("--yes", action="store_true", help="write the file without asking")
    add_overwrite(parser)


def run(arguments: argparse.Namespace) -> int:
    began = time.perf_counter()
    out = arguments.out and Path(arguments.out)
    _check(arguments, out)
    from ..bench.measure import Limit
    from ..bench.session import bench
    from ..bench.words import in_words
    from ..devices import choose_device
    from ..schedules import get_schedule

    limit = Limit(arguments.seconds, began, kept=min(FINISH, arguments.seconds / 5))
    device = choose_device(arguments.device)
    loaded = _load(arguments, device)
    on_gpu = device.type == "cuda"
    pn = arguments.pixels or (loaded.pipeline.config["default_pn"] if on_gpu else SMALL)
    result = bench(loaded, get_schedule("1.0", pn), limit, lambda line: _told(line, limit.used))
    if sys.stderr.isatty():
        print(f"\r{'':60}\r", end="", file=sys.stderr, flush=True)
    print(in_words(result))
    if out is None:
        print("add --out FILE.json to write a file that can be posted (docs/research/cards.md)")
        return 0
    text = result.to_json()
    print(f"\nThis is the whole file:\n{text}")
    if not arguments.yes and not _agreed(out):
        print("nothing was written")
        return 0
    replace_file(out, text.encode())
    print(printable(f"wrote {out.absolute()}"))
    return 0


def _check(arguments: argparse.Namespace, out: Path | None) -> None:
    """Refuse what can be refused before anything is loaded or measured."""
    whole("--seconds", arguments.seconds, 5, MOST_SECONDS)
    check_device(arguments.device)
    if arguments.model is not None and arguments.shape is not None:
        raise ValueError("give either --model or --shape: a shape has random weights")
    if arguments.model is not None:
        check_pipeline_folder(arguments.model)
    if arguments.shape is not None:
        from ..models.variants import drawing_variants

        if arguments.shape not in drawing_variants():
            raise ValueError(f"unknown --shape {arguments.shape!r}; expected one of "
                             f"{', '.join(drawing_variants())}")
    if arguments.pixels is not None:
        from ..schedules import get_schedule

        get_schedule("1.0", arguments.pixels)
    check_target("--out", out, ".json")
    check_outputs(arguments, [Output("--out", out, BENCH)] if out else [])
    if out and not arguments.yes and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ValueError("--out asks before it writes, and here is no terminal to ask at: add "
                         "--yes to write the file without being asked")


def _load(arguments: argparse.Namespace, device: torch.device) -> Loaded:
    from ..bench.subjects import load_folder, load_shape

    shape = arguments.shape
    if shape is None and arguments.model is None and device.type == "cuda":
        shape = GPU_SHAPE
    name = f"random weights in the shape of {shape}" if shape else \
        arguments.model or "the embedded model"
    print(printable(f"loading {name} on {device} ..."), file=sys.stderr, flush=True)
    return load_shape(shape, device) if shape else load_folder(arguments.model, device)


def _told(line: str, used: float) -> None:
    """Progress: one line that is written over on a terminal, else one for each step."""
    text = f"{line}, {used:.0f} s"
    if sys.stderr.isatty():
        print(f"\r{text:60}", end="", file=sys.stderr, flush=True)
    elif not line.startswith("round"):
        print(text, file=sys.stderr, flush=True)


def _agreed(out: Path) -> bool:
    """Whether somebody at the terminal wants the file."""
    try:
        answer = input(printable(f"Write it to {out.absolute()}? [y/N] "))
    except EOFError:
        return False
    return answer.strip().lower() in ("y", "yes")

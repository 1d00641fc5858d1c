"""The scale loop with and without the next product's weights asked into the cache, in turn.

    python -m benchmarks.weights_ahead --models 2b,8b --json FILE [--rounds 15] [--pn 1M]

Random weights in the released shapes. Says for every scale how long it takes both ways, and whether
the bits are the same. Without a GPU nothing is asked for: such a run tests the program only.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.engine import Loop, best
from benchmarks.gpu.models import build
from benchmarks.gpu.timing import in_turn, loop_seconds, warm_up
from benchmarks.machine import describe
from toprovar.devices import choose_device
from toprovar.files import replace_file


def compare(name: str, device: torch.device, pn: str | None, rounds: int) -> dict[str, Any]:
    """One model both ways: {"equal_bits", "off", "on"}, times in seconds by stage."""
    on_gpu = device.type == "cuda"
    subject = build(name, device, torch.bfloat16 if on_gpu else torch.float32, pn)
    plain = replace(best(device)[1], fused=True)
    loops = [Loop("off", subject, options=plain),
             Loop("on", subject, options=replace(plain, prefetch_weights=True))]
    codes = []
    for loop in loops:
        warm_up(loop, device)
        run = loop.run()
        for _ in run:
            pass
        codes.append(run.summed_codes.clone())
    off, on = in_turn(loops, device, rounds)
    return {"equal_bits": torch.equal(*codes), "off": off, "on": on}


def told(name: str, found: dict[str, Any]) -> str:
    """A table of one model."""
    off, on = (found[way]["stages"] for way in ("off", "on"))
    rows = [f"{name}: the bits are {'the same' if found['equal_bits'] else 'NOT the same'}",
            f"{'':12}{'off, ms':>10}{'on, ms':>10}{'on / off':>10}"]
    whole = {"all scales": (loop_seconds(off), loop_seconds(on))}
    for stage, (a, b) in ({s: (off[s], on[s]) for s in off} | whole).items():
        rows.append(f"{stage:12}{1e3 * a:10.3f}{1e3 * b:10.3f}{b / a:10.3f}")
    return "\n".join(rows)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default="2b,8b", help="names of variants, or tiny")
    parser.add_argument("--pn", help="pixel budget (default: the variant's)")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(argv)
    device = choose_device(given.device)
    models = {}
    for name in given.models.split(","):
        models[name] = compare(name, device, given.pn, given.rounds)
        print(told(name, models[name]), flush=True)
    if given.json:
        replace_file(given.json, (json.dumps({
            "command": "python -m benchmarks.weights_ahead " + " ".join(argv or sys.argv[1:]),
            "machine": describe(device), "models": models}, indent=1) + "\n").encode())
    return 0 if all(one["equal_bits"] for one in models.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())

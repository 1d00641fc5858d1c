"""What the first picture after a start costs, with Triton's cache on disk empty and filled.

Each case is a process of its own, as after a start of ComfyUI: a model, the first picture with no
plan connected, then warm dense pictures without recordings for comparison.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from statistics import median
from typing import Any

import torch

from benchmarks.gpu import models
from benchmarks.gpu.results import Results
from benchmarks.gpu.user import FIRST, Person, ways
from toprovar.ops import ahead
from toprovar.sampling.params import EngineOptions

EAGER = 4
"""Warm dense pictures; the first of them does not count."""
CASES = {"empty": (True, True), "filled": (False, True), "empty, one after the other":
         (True, False)}
"""Triton's cache on disk -> whether it is emptied before, and whether kernels are compiled ahead,
several at a time."""


def run_first(results: Results, found: dict[str, Any], model: str, dtype: str, pn: str | None
              ) -> None:
    """Every case, one process each."""
    found |= {"model": model, "rows": []}
    with contextlib.ExitStack() as held:
        folder = ""
        for case, (emptied, ahead) in CASES.items():
            if not results.may_begin(f"first {model}: {case}"):
                continue
            if emptied or not folder:
                folder = held.enter_context(tempfile.TemporaryDirectory())
            command = [sys.executable, "-m", "benchmarks.gpu.first", model, "--dtype", dtype]
            command += ([] if ahead else ["--serial"]) + (["--pn", pn] if pn else [])
            with results.attempt(f"first {model}: {case}"):
                done = subprocess.run(command, env={**os.environ, "TRITON_CACHE_DIR": folder},
                                      stdout=subprocess.PIPE, text=True, check=True)
                row = {"cache": case, **json.loads(done.stdout.splitlines()[-1])}
                found["rows"].append(row)
                print(f"  {model} first picture, Triton's cache {case}: {row['first_seconds']:.2f} "
                      f"s, {row['first_over_eager']:+.2f} s beside eager dense", flush=True)
            results.save()


def verdicts(section: str, found: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """(section, what, aim, measured, met) of the promise."""
    rows = {row["cache"]: row["first_over_eager"] for row in found["rows"]}
    if "empty" not in rows:
        return []
    more = rows["empty"]
    return [(section, "first picture after a start over a warm eager dense one, nothing compiled",
             f"{FIRST:.1f} s", f"{more:.2f} s", "yes" if more <= FIRST else "no")]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.first", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--pn")
    parser.add_argument("--serial", action="store_true",
                        help="compile each kernel when it is needed")
    given = parser.parse_args(argv)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if given.serial:
        ahead.why_no_triton = lambda: "not to be used ahead"
    subject = models.build(given.model, device, getattr(torch, given.dtype), given.pn)
    person = Person("first", subject, *ways(subject)["no plan connected"])
    person.picture()
    eager = Person("eager", subject, lambda: None, options=EngineOptions(graphs=False))
    for _ in range(EAGER):
        eager.picture()
    warm = median(eager.seconds[1:])
    print(json.dumps({"first_seconds": person.seconds[0], "eager_dense_seconds": warm,
                      "first_over_eager": person.seconds[0] - warm}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

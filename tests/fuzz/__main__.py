"""Damaged files and odd arguments by the thousand; 1 = something was neither accepted nor refused
with one clear line.

    python -m tests.fuzz --cases 20000 --seed 1 --json FILE
    python -m tests.fuzz --seed 1 --case 123        # one case again, in this process
"""

from __future__ import annotations

import argparse
import json
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from .campaign import run_campaign
from .cases import SOUND, Result, kind_of


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    add = parser.add_argument
    add("--cases", type=int, default=20_000, help="how many (default 20000)")
    add("--seed", type=int, default=1, help="of all draws (default 1)")
    add("--first", type=int, default=0, help="number of the first case (default 0)")
    add("--kind", help="only cases of this kind")
    add("--workers", type=int, default=2, help="processes (default 2)")
    add("--seconds", type=float, default=30.0, help="that a case may take (default 30)")
    add("--json", metavar="FILE", help="write counts and faults")
    add("--case", type=int, help="run this one in this process and show its traceback")
    add("--keep", metavar="DIR", help="with --case: an empty folder for its files")
    arguments = parser.parse_args(argv)
    if arguments.case is not None:
        return again(arguments.seed, arguments.case, arguments.keep)
    numbers = [n for n in range(arguments.first, arguments.first + arguments.cases)
               if arguments.kind in (None, kind_of(arguments.seed, n)[0])]
    done = 0

    def told(result: Result) -> None:
        nonlocal done
        done += 1
        if result.outcome not in SOUND:
            print(f"{result.number}: {result.kind}: {result.outcome}, {result.detail}", flush=True)
        if done % 500 == 0:
            print(f"{done} of {len(numbers)} cases", flush=True)

    report = run_campaign(arguments.seed, numbers, arguments.workers, arguments.seconds, told)
    print(f"\n{report.table()}\n\n{len(numbers)} cases in {report.seconds:.0f} s\n{report.told()}")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(report.to_json(), indent=1) + "\n")
    return 1 if report.faults else 0


def again(seed: int, number: int, keep: str | None) -> int:
    """One case without a worker, so that its traceback is seen."""
    from . import cases
    from .originals import make_originals

    def shown(error: Exception, name: str | None) -> tuple[str, str, str]:
        traceback.print_exception(error)
        return judged(error, name)

    judged, cases.judged = cases.judged, shown
    with tempfile.TemporaryDirectory() as folder:
        originals, place = Path(folder) / "originals", Path(keep or Path(folder) / "case")
        originals.mkdir()
        place.mkdir(exist_ok=True)
        result = cases.run_case(seed, number, originals, place, make_originals(originals))
    print(json.dumps(result.to_json(), indent=1))
    return 0 if result.outcome in SOUND else 1


if __name__ == "__main__":
    raise SystemExit(main())

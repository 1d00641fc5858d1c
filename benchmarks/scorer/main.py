"""The command line of a benchmark with an official scorer: ``write``, then ``read``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.scorer import read, write
from benchmarks.scorer.base import Benchmark


def main(bench: Benchmark, argv: Sequence[str] | None = None) -> int:
    """0 = well, 2 = bad input."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{bench.name}",
        description=f"{bench.title}: pictures for its official scorer, and its scores back.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    write.add_arguments(actions.add_parser("write", help="draw the pictures, in the scorer's "
                                                         "layout; goes on where it stopped"), bench)
    read.add_arguments(actions.add_parser("read", help="the scores of all methods in one table"))
    given = parser.parse_args(argv)
    try:
        return write.run(bench, given) if given.action == "write" else read.run(bench, given)
    except (ValueError, OSError) as error:
        print(f"benchmarks.{bench.name}: {error}", file=sys.stderr)
        return 2

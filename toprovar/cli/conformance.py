"""``toprovar conformance``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..printable import printable
from .early import check_device

if TYPE_CHECKING:
    from ..conformance.check import Check


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", help="a fixture family, or a folder of families")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    parser.add_argument("--device", default="cpu",
                        help="cpu, cuda, cuda:1 or mps (default: cpu)")


def run(arguments: argparse.Namespace) -> int:
    check_device(arguments.device)
    if not Path(arguments.folder).is_dir():
        raise ValueError(f"there is no folder {arguments.folder!r}")
    from ..conformance import check_folder
    from ..devices import choose_device

    report = check_folder(Path(arguments.folder), choose_device(arguments.device),
                          None if arguments.json else show)
    if arguments.json:
        print(json.dumps(report.to_json(), indent=1))
    else:
        for line in report.unsupported:
            print(f"skip  {printable(line)}")
        print(report.summary())
    return 0 if report.passed else 1


def show(check: Check) -> None:
    note = f"  ({check.note})" if check.note else ""
    verdict = "ok  " if check.passed else "MISS"
    print(f"{verdict}  {check.difference:<10.3g} limit {check.limit:<8.3g} "
          f"{printable(check.name)}{printable(note)}")

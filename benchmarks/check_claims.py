"""Every figure of the README against its source.

    python -m benchmarks.check_claims                      # against the committed results: instant
    python -m benchmarks.check_claims --run quick          # and again what takes seconds
    python -m benchmarks.check_claims --run all --timing   # all that this machine can repeat
    python -m benchmarks.check_claims --list               # where each figure comes from

``claims.toml`` says which figure comes from where, ``claims.py`` how it is read. Exits with 1 if a
figure is not what its source says, if a re-run is out of tolerance, or if a document has a number
that nothing accounts for.

A document is held to the committed result, to the last digit that it states. A re-run is held to
the committed result within the source's tolerance: times of another machine do not agree closely,
and are repeated only with ``--timing``. What needs a GPU is repeated only where there is one.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.claims import (
    CLAIMS,
    ROOT,
    Claim,
    ClaimsFile,
    Source,
    agrees,
    load_claims,
    load_result,
    locate,
    unclaimed,
)

TIMEOUT = 3600


@dataclass
class Checked:
    """One claim: what its document states, and what was found.

    Attributes:
        recorded, repeated: values in the unit of the text; empty where there are none.
        problems: in words; none = it holds.
    """

    claim: Claim
    recorded: list[float] = field(default_factory=list)
    repeated: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    note: str = ""


def check(claims: ClaimsFile, repeated: dict[str, Any], root: Path = ROOT
          ) -> tuple[list[Checked], list[str]]:
    """Hold documents to results, and results to their repetitions.

    Args:
        repeated: by source: what its command gave now, or why it gave nothing, as a string.

    Returns:
        one entry per claim, and what is wrong with documents or sources as a whole.
    """
    faults: list[str] = []
    results: dict[str, Any] = {}
    for name, source in claims.source.items():
        try:
            results[name] = load_result(source, root)[0]
        except ValueError as error:
            faults.append(f"source {name}: {error}")
    documents = {file: (root / file).read_text("utf-8")
                 for file in {*claims.plain, *(c.file for c in claims.claim)}}
    rows = []
    for claim in claims.claim:
        row = Checked(claim)
        place = locate(claim, documents[claim.file])
        if place.problem:
            row.problems.append(place.problem)
        _compare(row, claims.source[claim.source], results.get(claim.source),
                 repeated.get(claim.source))
        rows.append(row)
    for file, plain in claims.plain.items():
        own = [c for c in claims.claim if c.file == file]
        faults += [f"{file}: {p}" for p in unclaimed(documents[file], own, plain)]
    used = {c.source for c in claims.claim}
    faults += [f"source {name}: no claim names it" for name in claims.source if name not in used]
    return rows, faults


def _compare(row: Checked, source: Source, result: Any, repeated: Any) -> None:
    claim = row.claim
    try:
        if result is not None:
            row.recorded = claim.found(result)
        if isinstance(repeated, str):
            row.problems.append(repeated)
        elif repeated is not None:
            row.repeated = claim.found(repeated)
    except (ValueError, ZeroDivisionError) as error:
        row.problems.append(str(error))
        return
    for stated, value in zip(claim.stated, row.recorded, strict=bool(row.recorded)):
        if not agrees(stated, value):
            row.problems.append(f"{claim.file} says {stated}, {source.result} gives {value:.6g}")
    anchors = row.recorded or [float(s.replace(",", "")) for s in claim.stated]
    tolerance = source.tolerance if claim.tolerance is None else claim.tolerance
    for stated, anchor, value in zip(claim.stated, anchors, row.repeated,
                                     strict=bool(row.repeated)):
        allowed = tolerance * abs(anchor) + 1e-9
        if abs(value - anchor) > allowed and not agrees(stated, value):
            row.problems.append(f"a re-run gives {value:.6g} for {stated} "
                                f"(tolerance {100 * tolerance:g} %)")


def wanted(source: Source, run: str, timing: bool) -> str | None:
    """Why a source is not repeated now; None = it is."""
    if run == "none" or (source.kind == "slow" and run == "quick"):
        return ""
    if source.kind == "joined":
        return "of several runs"
    if source.timing and not timing:
        return "times: --timing"
    if source.kind == "device" and (run == "quick" or not torch.cuda.is_available()):
        return "needs a GPU"
    return None


def repeat(source: Source, command: str, root: Path = ROOT) -> Any:
    """Run a source's command; its JSON, or what went wrong as a string."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        words = [str(out) if word == source.result else word for word in shlex.split(command)]
        if words[0] == "python":
            words[0] = sys.executable
        elif words[0] == "toprovar":
            words[:1] = [sys.executable, "-m", "toprovar"]
        try:
            done = subprocess.run(words, cwd=root, capture_output=True, text=True, timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            return f"{command!r} was not done in {TIMEOUT} s"
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            return f"{command!r} ended with {done.returncode}: {' '.join(last)}"
        text = out.read_text("utf-8") if out.is_file() else done.stdout
    for candidate in (text, (text.strip().splitlines() or [""])[-1]):
        try:
            return json.loads(candidate)
        except ValueError:
            continue
    return f"{command!r} gave no JSON"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--run", choices=["none", "quick", "all"], default="none", help="what to measure again")
    add("--timing", action="store_true", help="times as well (with --run)")
    add("--only", metavar="SOURCE", action="append", help="repeat this source alone")
    add("--list", action="store_true", help="print the sources, their commands and machines")
    add("--claims", type=Path, default=CLAIMS, metavar="FILE")
    given = parser.parse_args(argv)
    try:
        claims = load_claims(given.claims)
    except ValueError as error:
        print(f"check_claims: {error}", file=sys.stderr)
        return 2
    if unknown := sorted(set(given.only or ()) - set(claims.source)):
        parser.error(f"no source is called {', '.join(unknown)}: there is "
                     f"{', '.join(claims.source)}")
    if given.list:
        show_sources(claims)
        return 0
    repeated: dict[str, Any] = {}
    why_not: dict[str, str] = {}
    for name, source in claims.source.items():
        reason = wanted(source, given.run, given.timing)
        if reason is None and (not given.only or name in given.only):
            _, command, _ = load_result(source)
            print(f"running {command}", flush=True)
            started = time.perf_counter()
            repeated[name] = repeat(source, command)
            print(f"  {time.perf_counter() - started:.1f} s", flush=True)
        else:
            why_not[name] = reason or ""
    rows, faults = check(claims, repeated)
    for row in rows:
        row.note = why_not.get(row.claim.source, "")
    show(rows, claims)
    wrong = [row for row in rows if row.problems]
    for row in wrong:
        for problem in row.problems:
            print(f"WRONG  {row.claim.id}: {problem}")
    for fault in faults:
        print(f"WRONG  {fault}")
    figures = sum(len(row.claim.stated) for row in rows)
    again = sum(len(row.repeated) for row in rows)
    print(f"{figures} figures in {len(rows)} claims, {again} measured again: "
          f"{len(wrong)} claims wrong, {len(faults)} other faults")
    return 1 if wrong or faults else 0


def show(rows: list[Checked], claims: ClaimsFile) -> None:
    """A line for each claim."""
    head = ("claim", "kind", "stated", "recorded", "again", "")
    table = [(row.claim.id, claims.source[row.claim.source].kind, " ".join(row.claim.stated),
              " ".join(f"{v:.4g}" for v in row.recorded) or "-",
              " ".join(f"{v:.4g}" for v in row.repeated) or "-",
              "WRONG" if row.problems else row.note) for row in rows]
    widths = [max(len(line[i]) for line in [head, *table]) for i in range(len(head))]
    for line in [head, *table]:
        print("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip())


def show_sources(claims: ClaimsFile) -> None:
    """What each source is, for someone who wants to repeat it."""
    for name, source in claims.source.items():
        _, command, machine = load_result(source)
        figures = sum(len(c.stated) for c in claims.claim if c.source == name)
        what = f"{source.kind}{', times' if source.timing else ''}"
        print(f"{name} ({what}; {figures} figures; tolerance {100 * source.tolerance:g} %)\n"
              f"  {command}\n  made on: {machine}; kept in: {source.result or '-'}")


if __name__ == "__main__":
    raise SystemExit(main())

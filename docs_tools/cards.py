"""The parts of ``docs/research/cards.md``: the collected files of ``toprovar bench``, and the
projections of ``benchmarks/projection.py`` with their test."""

from __future__ import annotations

import json
import sys
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any

from toprovar.bench.result import BenchResult
from toprovar.bench.words import seconds_words

from .markdown import table

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]  # there on 3.10 alone

ROOT = Path(__file__).resolve().parents[1]
COLLECTED = ROOT / "docs/research/benchmarks/cards"
PROJECTION = ROOT / "benchmarks/results/projection.json"
VENDOR = ROOT / "benchmarks/cards.toml"
MODELS = {"125m": "125M, 256 px", "2b": "2B, 1024 px", "8b": "8B, 1024 px"}
PLANS = ("dense", "no plan connected", "budget 0.3")
STAGES = ("text", "early", "middle", "late", "decoder", "picture")
WEIGHTS = {"random": "**random weights**", "own": "own weights", "embedded": "its own weights"}


def collected() -> str:
    """A row for every file, by device and model."""
    found = [(path, BenchResult.load(path)) for path in sorted(COLLECTED.glob("*.json"))]
    rows = [_row(path, result) for path, result in sorted(
        found, key=lambda one: (one[1].machine.device, one[1].machine.name, one[1].subject.name))]
    return table(("device", "model", "dense", "accelerated", "times as fast", "rounds",
                  "text, scale loop, decoder: dense", "the same: accelerated", "first picture",
                  "software", "file"), rows)


def _row(path: Path, result: BenchResult) -> tuple[str, ...]:
    own, about, machine = result.conditions, result.subject, result.machine
    name = machine.name if machine.device != "cpu" else \
        f"CPU: {machine.name}, {machine.cores} cores, {machine.threads} threads"
    busy = ", **machine was busy**" if own.busy else ""
    kinds = (result.dense, result.accelerated)
    parts = [", ".join(seconds_words(median(part)) for part in (
        runs.pictures.text, runs.pictures.scales, runs.pictures.decode))
        if len(runs.pictures) else "-" for runs in kinds]
    took = [seconds_words(median(runs.pictures.seconds)) if len(runs.pictures) else "-"
            for runs in kinds]
    plan = result.accelerated.plan
    ratio = "-" if result.ratio is None else (
        f"{result.ratio.median:.2f} ({result.ratio.low:.2f} to {result.ratio.high:.2f})")
    versions = result.versions
    return (name, f"{about.name}, {about.image_width} x {about.image_height}, {about.dtype}, "
            f"{WEIGHTS[about.weights]}", took[0], f"{took[1]} ({plan})", ratio,
            f"{len(result.dense.pictures)}{busy}", *parts,
            f"{seconds_words(result.accelerated.first.seconds)}",
            f"toprovar {versions.toprovar}, torch {versions.torch}, {result.date}",
            f"[{path.name}](benchmarks/cards/{path.name})")


@lru_cache(maxsize=1)
def _projection() -> dict[str, Any]:
    return json.loads(PROJECTION.read_text("utf-8"))


@lru_cache(maxsize=1)
def _vendor() -> dict[str, dict[str, Any]]:
    return tomllib.loads(VENDOR.read_text("utf-8"))


def projections() -> str:
    """A row for every card and model."""
    rows = []
    for row in _projection()["projections"]:
        least = "" if row["fits"] else "more than "
        rows.append((
            _vendor()[row["card"]]["name"], MODELS[row["model"]],
            *(f"{least}{seconds_words(row['plans'][plan]['picture'])}"
              if plan in row["plans"] else "-" for plan in PLANS),
            seconds_words(row["least"]), "yes" if row["fits"] else f"no: {_waiting(row)}"))
    return table(("card (projection)", "model", *(f"{plan}, projected" for plan in PLANS),
                  "dense at the vendor's full rates", "fits the memory"), rows)


def _waiting(row: dict[str, Any]) -> str:
    """What does not fit, without the sizes before it."""
    return row["memory"].partition("; ")[2]


def stages() -> str:
    """Measured and projected, stage by stage, on the card that the shares were fitted to."""
    rows = []
    for row in _projection()["stages"]:
        fitted = ", **fitted to**" if row["fitted"] else ""
        rows.append((f"{row['model'].upper()}, {row['plan']}{fitted}", *(
            f"{_ms(row['predicted'][k])} / {_ms(row['measured'][k])} ({_percent(row['error'][k])})"
            for k in STAGES)))
    return table(("H100, projected / measured, ms", *STAGES), rows)


def pictures() -> str:
    """Measured and projected, whole pictures."""
    return table(("card", "model", "plan", "scale loop, projected / measured, ms", "error",
                  "picture, projected / measured, ms", "error"), [
        (row["card"], f"{row['model'].upper()}, {row['pn']}", row["plan"],
         f"{_ms(row['predicted_loop'])} / {_ms(row['measured_loop'])}",
         _percent(row["loop_error"]), f"{_ms(row['predicted'])} / {_ms(row['measured'])}",
         _percent(row["error"])) for row in _projection()["pictures"]])


def errors() -> str:
    """Of everything that nothing was fitted to."""
    return table(("what was projected and measured", "median error", "largest", "values"), [
        (name, f"{100 * row['median']:.0f} %", _percent(row["largest"]), str(row["count"]))
        for name, row in _projection()["errors"].items()])


def shares() -> str:
    """What was fitted."""
    own = _projection()["shares"]
    return table(("fitted", "value"), [
        ("share of the vendor's memory rate, from one large copy", f"{100 * own['memory']:.0f} %"),
        ("share of the vendor's tensor rate in scales", f"{100 * own['scale']:.0f} %"),
        ("share of the vendor's tensor rate in the decoder", f"{100 * own['decoder']:.0f} %"),
        ("launches of a layer", f"{1e6 * own['launch']:.0f} us"),
        ("preparation, of the first scale's time", f"{100 * own['preparation']:.0f} %"),
        ("text encoder besides, launches and the host", f"{1e3 * own['text']:.1f} ms")])


def vendor() -> str:
    """The rates that projections start from, with their sources."""
    return table(("card", "dense products in bfloat16", "memory rate", "source"), [
        (one["name"], f"{one['tensor'] / 1e12:g} TFLOP/s", f"{one['memory'] / 1e9:g} GB/s",
         f"[NVIDIA]({one['source']}): {one['note']}") for one in _vendor().values()])


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.1f}"


def _percent(error: float) -> str:
    return f"{round(100 * error):+d} %" if round(100 * error) else "0 %"

"""Figures, tables and plots from the parts that ``benchmarks.quality`` has written."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from benchmarks.quality_sets import Sets, details
from toprovar.evaluation.compositional import TASKS
from toprovar.evaluation.compositional.report import wilson
from toprovar.files import replace_file
from toprovar.schedules import get_schedule

DRAWS = 2000
COLOURS = {"toprovar": "#d62728", "fastvar": "#1f77b4", "skipvar": "#2ca02c", "stop": "#7f7f7f",
           "fastervar": "#9467bd", "ldpruning": "#ff7f0e"}
BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"
"""Between them lie the tables of docs/research/quality.md."""
ROWS = ("Each row is a plan, in the order of its work. Less FLOPs, a higher *score*, *SSIM*, "
        "*PSNR* and *sharpness*, and\na smaller *latent* are better.")
BESIDE = ("The measures beside the score, for the same rows. Higher *parts*, *whole objects*, "
          "*precision* and *recall* are\nbetter; smaller Fréchet distances and a smaller judge's "
          "distance are.")
BY_TASK = ("The score of each of the judge's six tasks (columns), for the main rows; higher is "
           "better.")
"""The sentences that say how to read the tables."""
MEANS = ("ssim", "psnr", "latent", "sharpness", "bits", "seen")
FLOOR = "fresh scenes"
"""The row of what a perfect generator would get."""


def mcnemar(a: Sequence[int], b: Sequence[int]) -> float:
    """Exact two-sided McNemar test: how likely pairs of verdicts differ this unevenly by chance."""
    better = sum(x > y for x, y in zip(a, b, strict=True))
    worse = sum(x < y for x, y in zip(a, b, strict=True))
    count = better + worse
    tail = sum(math.comb(count, i) for i in range(min(better, worse) + 1)) / 2**count
    return min(1.0, 2 * tail)


def score(passed: Sequence[int], tasks: Sequence[str]) -> tuple[float, dict[str, list[int]]]:
    """Mean over tasks of the share passed, and the verdicts by task."""
    marks = {t: [p for p, own in zip(passed, tasks, strict=True) if own == t] for t in TASKS}
    marks = {t: m for t, m in marks.items() if m}
    return fmean(fmean(m) for m in marks.values()), marks


def interval(marks: dict[str, list[int]], other: dict[str, list[int]] | None = None
             ) -> tuple[float, float]:
    """95 % bootstrap interval within tasks, of the score or of its (paired) distance to another."""
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(DRAWS)
    for task, values in marks.items():
        own = torch.tensor(values, dtype=torch.float32)
        if other is not None:
            own = own - torch.tensor(other[task], dtype=torch.float32)
        total += own[torch.randint(len(own), (DRAWS, len(own)), generator=generator)].mean(1)
    low, high = (total / len(marks)).quantile(torch.tensor([0.025, 0.975])).tolist()
    return low, high


def check_parts(folder: Path, sizes: Sequence[str]) -> None:
    """Refuse a folder that lacks the parts of a size.

    Raises:
        ValueError: naming the sizes, and those that the folder has.
    """
    there = sorted({p.name.split("-")[1] for p in folder.glob("part-*-*.json")})
    if missing := [pn for pn in sizes if pn not in there]:
        what = f"name what there is: --pn {','.join(there)}" if there else \
            "run the benchmark without --only-report"
        raise ValueError(f"{folder} has no results of {', '.join(missing)}: {what}")


def summary(folder: Path, pn: str) -> dict[str, Any]:
    """All rows of one size, from its parts."""
    check_parts(folder, [pn])
    paths = sorted(folder.glob(f"part-{pn}-*.json"))
    parts = [json.loads(p.read_text()) for p in paths]
    names = list(dict.fromkeys(name for part in parts for name in part["rows"]))
    rows: dict[str, Any] = {}
    sets = Sets(paths)
    for name in names:
        own = [part for part in parts if name in part["rows"]]
        tasks = [t for part in own for t in part["tasks"]]
        passed = [x for part in own for x in part["rows"][name]["passed"]]
        dense = [x for part in own for x in part["rows"]["dense"]["passed"]]
        value, marks = score(passed, tasks)
        reference, dense_marks = score(dense, tasks)
        row: dict[str, Any] = {
            "pictures": len(passed), "score": round(value, 4),
            "interval": [round(x, 4) for x in interval(marks)],
            "tasks": {t: [round(fmean(m), 4), *(round(x, 4) for x in wilson(sum(m), len(m)))]
                      for t, m in marks.items()},
        }
        row |= details([part["rows"][name] for part in own]) | sets.row(name)
        if name != "dense":
            row["to_dense"] = round(value - reference, 4)
            row["to_dense_interval"] = [round(x, 4) for x in interval(marks, dense_marks)]
            row["mcnemar_dense"] = round(mcnemar(passed, dense), 5)
            for key in ("flops", "token_layers"):
                row[key] = round(fmean(part["rows"][name][key] for part in own), 4)
            for key in MEANS:
                values = [x for part in own for x in part["rows"][name].get(key, [])]
                if values:
                    row[key] = round(fmean(values), 4)
            rival = "toprovar @ " + name.split(" @ ")[-1]
            if " @ " in name and rival in names and rival != name:
                both = [part["rows"] for part in own if rival in part["rows"]]
                pairs = [[x for rows in both for x in rows[n]["passed"]] for n in (name, rival)]
                row["mcnemar_toprovar"] = round(mcnemar(*pairs), 5)
        rows[name] = row
    return rows


def floor(folder: Path, pn: str) -> dict[str, Any]:
    """Distances of two sets of fresh scenes for the same prompts; empty without features."""
    return Sets(sorted(folder.glob(f"part-{pn}-*.json"))).floor()


def sets_table(rows: dict[str, Any], real: dict[str, Any]) -> str:
    """Markdown: the measures beside the score, in the order of the work."""
    columns = [(head, key) for head, key in (
        ("parts", "parts"), ("whole objects", "whole_objects"), ("Fréchet, judge", "frechet_whole"),
        ("Fréchet, judge, fine", "frechet_fine"), ("Fréchet, second", "frechet_second"),
        ("precision", "precision"), ("recall", "recall"), ("judge's distance", "seen"))
        if any(key in row for row in rows.values())]
    if not columns:
        return ""
    lines = ["| | FLOPs | " + " | ".join(head for head, _ in columns) + " |",
             "|---" * (len(columns) + 2) + "|"]
    given = [(FLOOR, real)] if real else []
    order = sorted(rows.items(), key=lambda item: -item[1].get("flops", 2))
    for name, row in [*given, *order]:
        work = "" if name == FLOOR else f"{row.get('flops', 1):.1%}"
        cells = [_cell(row, key, rows["dense"]) for _, key in columns]
        bold = "**" if name.startswith("toprovar @") else ""
        lines.append(f"| {bold}{name}{bold} | {work} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(row: dict[str, Any], key: str, dense: dict[str, Any]) -> str:
    if key not in row:
        return ""
    value, text = row[key], ""
    if key.startswith("frechet"):
        text = f"{value:.3f}"
        if row is not dense and dense.get(key):
            text += f" ({value / dense[key]:.2f} x)"
    elif key == "seen":
        text = f"{value:.4f}"
    else:
        text = f"{value:.1%}"
        if f"{key}_interval" in row:
            low, high = row[f"{key}_interval"]
            text += f" ({low:.1%} to {high:.1%})"
    return text


def table(rows: dict[str, Any], times: dict[str, float]) -> str:
    """Markdown, in the order of the work."""
    heads = ("", "FLOPs", "token-layers", "score", "to dense (95 %)", "p", "SSIM", "PSNR",
             "latent", "sharpness", "faster", "n")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    dense = rows["dense"]
    low, high = dense["interval"]
    lines.append(f"| dense | 100 % | 100 % | {dense['score']:.1%} ({low:.1%} to {high:.1%}) | "
                 "| | | | | | 1 | "
                 f"{dense['pictures']} |")
    for name, row in sorted(rows.items(), key=lambda item: -item[1].get("flops", 2)):
        if name == "dense":
            continue
        low, high = row["to_dense_interval"]
        bold = "**" if name.startswith("toprovar @") else ""
        lines.append(
            f"| {bold}{name}{bold} | {row['flops']:.1%} | {row['token_layers']:.1%} | "
            f"{row['score']:.1%} | "
            f"{100 * row['to_dense']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f}) | "
            f"{row['mcnemar_dense']:.2g} | {row['ssim']:.3f} | {row['psnr']:.1f} | "
            f"{row['latent']:.3f} | {row['sharpness']:.2f} | "
            f"{_ratio(times.get(name))} | {row['pictures']} |")
    return "\n".join(lines)


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} x"


def by_task(rows: dict[str, Any]) -> str:
    """Markdown: score of each task."""
    lines = ["| | " + " | ".join(TASKS) + " |", "|---|" + "---|" * len(TASKS)]
    for name, row in rows.items():
        if name == "dense" or name.startswith(("toprovar @", "fastvar", "skipvar")):
            lines.append(f"| {name} | " + " | ".join(
                f"{row['tasks'][t][0]:.1%}" if t in row["tasks"] else "" for t in TASKS) + " |")
    return "\n".join(lines)


def plot(found: dict[str, dict[str, Any]], times: dict[str, dict[str, float]], path: Path) -> None:
    """Score and SSIM against FLOPs, score against measured speed-up; a row of panels a size."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10 if not times else 13, 3.4 * len(found)), layout="constrained")
    panels = [("flops", "score", "share of the dense FLOPs"),
              ("flops", "ssim", "share of the dense FLOPs")]
    if times:
        panels.append(("time", "score", "share of the dense time"))
    axes = figure.subplots(len(found), len(panels), squeeze=False)
    for line, (pn, rows) in zip(axes, found.items(), strict=True):
        side = get_schedule("1.0", pn).image_size[0]
        for axis, (x, y, label) in zip(line, panels, strict=True):
            for method, colour in COLOURS.items():
                points = sorted(
                    (1 / times[pn][name] if x == "time" else row["flops"], row[y])
                    for name, row in rows.items()
                    if name.startswith(f"{method} @") or (
                        method != "toprovar" and name.startswith(method)
                        and row["pictures"] == rows["dense"]["pictures"])
                    if x != "time" or name in times.get(pn, {})
                )
                if points:
                    axis.plot(*zip(*points, strict=True), "o" if x == "time" else "o-",
                              color=colour, label=method, ms=4)
            if y == "score":
                axis.axhspan(*rows["dense"]["interval"], color="#bbbbbb", alpha=0.5, lw=0)
                axis.axhline(rows["dense"]["score"], color="#555555", lw=1, label="dense")
            axis.set_xlabel(label)
            axis.set_ylabel("compositional score" if y == "score" else "SSIM to dense")
            axis.set_title(f"{side} x {side} pixels")
            axis.grid(alpha=0.3)
        line[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def report(folder: Path, sizes: Sequence[str], docs: Path | None = None) -> None:
    """Write ``results.json`` and, into the folder ``docs``, tables and a plot."""
    about_path = folder / "about.json"
    about = json.loads(about_path.read_text()) if about_path.exists() else {}
    times = about.get("times", {})
    found = {pn: summary(folder, pn) for pn in sizes}
    floors = {pn: floor(folder, pn) for pn in sizes}
    result = {**about, "sizes": found, "fresh_scenes": floors}
    replace_file(folder / "results.json", (json.dumps(result, indent=1) + "\n").encode())
    text = "\n\n".join(
        f"### {get_schedule('1.0', pn).image_size[0]} px (`{pn}`)\n\n"
        f"{ROWS}\n\n{table(rows, times.get(pn, {}))}\n\n"
        + (f"{BESIDE}\n\n{sets_table(rows, floors[pn])}\n\n"
           if sets_table(rows, floors[pn]) else "")
        + f"{BY_TASK}\n\n{by_task(rows)}"
        for pn, rows in found.items())
    replace_file(folder / "tables.md", (text + "\n").encode())
    if docs:
        page = docs / "research" / "quality.md"
        before, rest = page.read_text(encoding="utf-8").split(BEGIN)
        page_text = before + BEGIN + "\n\n" + text + "\n\n" + END + rest.split(END)[1]
        replace_file(page, page_text.encode())
        plot(found, times, docs / "images" / "quality.png")

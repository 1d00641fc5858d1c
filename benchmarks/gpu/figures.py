"""The benchmark's figure: pictures, stages and batches."""

from __future__ import annotations

import io
from typing import Any

from benchmarks.gpu.strategies import PRESET, SHORTCUT

INK, WALL, BUSY = "#333333", "#b9c6d3", "#21618c"
LINES = ("#b5537a", "#21618c", "#f2a65a", "#4b2f73", "#5d8a3a")
SHOWN = (PRESET, SHORTCUT)
STAGES = 6
"""Last stages that are drawn one by one: the late scales are nearly all of the time."""


def draw(merged: dict[str, Any]) -> bytes:
    """A PNG: wall and busy time of every contender, time by stage, pictures a second by batch.

    Raises:
        ValueError: matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError("the benchmark's figure needs matplotlib: pip install matplotlib"
                         ) from None
    sections = merged["sections"]
    rows = _rows(sections)
    figure = Figure(figsize=(11, max(4.0, 0.3 * len(rows) + 1.2)), layout="constrained")
    axes: Any = figure.subplots(1, 2, width_ratios=[3, 2])
    _times(axes[0], rows)
    batches = sections.get("batches", {}).get("rows", [])
    if batches:
        grid = axes[1].get_subplotspec().subgridspec(2, 1)
        axes[1].remove()
        _stages(figure.add_subplot(grid[0]), rows)
        _batches(figure.add_subplot(grid[1]), batches)
    else:
        _stages(axes[1], rows)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"toprovar": "{}"})
    return buffer.getvalue()


def _rows(sections: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(label, row) of everything that was timed as a whole picture."""
    found = []
    for name in ("dense", "strategies", "8b"):
        section = sections.get(name, {})
        rows = [*section.get("rows", []), *section.get("strategies", {}).get("rows", [])]
        found += [(f"{section['model']}  {row['name']}", row) for row in rows
                  if row["name"] != "dense"]
    return found


def _times(axis: Any, rows: list[tuple[str, dict[str, Any]]]) -> None:
    places = range(len(rows))
    axis.barh(places, [row["seconds"] * 1e3 for _, row in rows], color=WALL, label="wall")
    axis.barh(places, [row["busy_seconds"] * 1e3 for _, row in rows], height=0.4, color=BUSY,
              label="busy")
    for place, (_, row) in zip(places, rows, strict=True):
        axis.text(row["seconds"] * 1e3, place, f" {row['seconds'] * 1e3:.0f}", va="center",
                  fontsize=7, color=INK)
    axis.set_yticks(places, [label for label, _ in rows], fontsize=7)
    axis.invert_yaxis()
    axis.set_xlabel("prompt to picture, ms", fontsize=8)
    _plain(axis)


def _stages(axis: Any, rows: list[tuple[str, dict[str, Any]]]) -> None:
    first = rows[0][1]["roofline"] if rows else {}
    names = [stage for stage in first if stage not in ("scales", "all")]
    early = names[1:-STAGES]
    labels = [names[0], "earlier scales", *names[-STAGES:]] if names else []
    model = rows[0][0].split()[0] if rows else ""
    shown = [(label, row) for label, row in rows if label.split()[0] == model
             and row["name"] in ("official", "dense, graphs", *SHOWN)][: len(LINES)]
    wide = 0.8 / max(1, len(shown))
    for i, (colour, (label, row)) in enumerate(zip(LINES, shown, strict=False)):
        taken = {stage: row["roofline"].get(stage, {}).get("seconds", 0.0) for stage in names}
        values = [taken[names[0]], sum(taken[s] for s in early),
                  *(taken[s] for s in names[-STAGES:])]
        axis.bar([x + (i + 0.5) * wide - 0.4 for x in range(len(labels))],
                 [v * 1e3 for v in values], width=wide, color=colour, label=label)
    axis.set_xticks(range(len(labels)), labels, fontsize=7, rotation=30)
    axis.set_ylabel("ms", fontsize=8)
    _plain(axis)


def _batches(axis: Any, rows: list[dict[str, Any]]) -> None:
    for colour, name in zip(LINES, dict.fromkeys(row["name"] for row in rows), strict=False):
        own = [(row["images"], row["images_per_second"]) for row in rows if row["name"] == name]
        axis.plot(*zip(*own, strict=True), marker="o", markersize=3, color=colour, label=name)
    axis.set_xticks(sorted({row["images"] for row in rows}))
    axis.set_xlabel("pictures at once", fontsize=8)
    axis.set_ylabel("pictures a second", fontsize=8)
    axis.set_ylim(bottom=0)
    _plain(axis)


def _plain(axis: Any) -> None:
    axis.legend(fontsize=6, frameon=False)
    axis.tick_params(labelsize=7, length=0)
    axis.spines[["top", "right"]].set_visible(False)

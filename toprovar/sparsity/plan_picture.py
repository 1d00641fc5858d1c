"""A plan as a picture: scales down, layers across, and what each scale costs.

matplotlib is imported when a figure is asked for (the extra ``analysis``).
"""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from ..models.config import default_mlp_hidden
from ..printable import printable
from .cost import TEXT_TOKENS, WorkTable
from .plan import SparsityPlan

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, BAR, BACK = "#333333", "#21618c", "#dfe3e8"
TIMES = "\N{MULTIPLICATION SIGN}"
COLOURS = ("#fbe3c8", "#f2a65a", "#b5537a", "#4b2f73", "#161335")
"""From few tokens to all of them: what works is dark."""


def plan_picture(plan: SparsityPlan, title: str | None = None) -> Figure:
    """Heat grid of the share of tokens kept at every (scale, layer), with each scale's share of a
    dense run's FLOPs as a bar: outline = dense, filled = this plan.

    Args:
        title: default: strategy, schedule and predicted cost.
    """
    try:
        from matplotlib.colors import LinearSegmentedColormap
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError("a picture of a plan needs matplotlib: pip install 'toprovar[analysis]'"
                         ) from None

    count, depth = len(plan.scales), plan.model.depth
    shares = np.array([[n / s.tokens for n in s.keep] for s in plan.scales])
    shown = np.ma.masked_array(shares, [[not s.run] * depth for s in plan.scales])
    wide = min(7.5, max(3.2, 0.26 * depth))
    high = max(1.7, 0.27 * count)
    figure = Figure(figsize=(wide + 3.6, high + 1.25), layout="constrained")
    axes: Any = figure.subplots(1, 2, width_ratios=[wide, 2.0])
    left, right = axes
    colours = LinearSegmentedColormap.from_list("kept", list(COLOURS))
    drawn = left.imshow(shown, cmap=colours, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    _not_run(left, plan)
    left.set_yticks(range(count), [f"{s}   {p.grid[0]}{TIMES}{p.grid[1]}"
                                   for s, p in enumerate(plan.scales)])
    step = 1 if depth <= 16 else 2 if depth <= 24 else 4
    left.set_xticks(range(0, depth, step))
    left.set_xlabel("layer")
    left.set_ylabel("scale   tokens")
    left.set_xticks(np.arange(-0.5, depth), minor=True)
    left.set_yticks(np.arange(-0.5, count), minor=True)
    left.grid(which="minor", color="white", linewidth=0.8)
    left.tick_params(which="both", length=0, labelsize=7)
    _frame(left)
    # Outside the bars, so that they stand beside their rows.
    bar = figure.colorbar(drawn, ax=axes, location="right", fraction=0.03, pad=0.01,
                          ticks=[0, 0.25, 0.5, 0.75, 1])
    bar.ax.set_yticklabels(["0", "25", "50", "75", "100"], fontsize=7)
    bar.ax.tick_params(length=0)
    bar.set_label("tokens kept, %", fontsize=8, color=INK)
    bar.outline.set_visible(False)
    _costs(right, plan)
    for axis in axes:
        axis.xaxis.label.set(size=8, color=INK)
        axis.yaxis.label.set(size=8, color=INK)
    figure.suptitle(printable(title or _title(plan)), parse_math=False, fontsize=9, color=INK,
                    x=0.01, ha="left")
    return figure


def plan_png(plan: SparsityPlan, dpi: int = 200) -> bytes:
    """The picture as a PNG file's content."""
    buffer = io.BytesIO()
    plan_picture(plan).savefig(buffer, format="png", dpi=dpi, facecolor="white",
                               metadata={"toprovar": "{}"})
    return buffer.getvalue()


def scale_shares(plan: SparsityPlan) -> tuple[list[float], list[float]]:
    """Each scale's FLOPs under the plan, and in a dense run, as shares of the dense run's.

    Of the blocks alone, with the official feed-forward width: a plan does not know its model's.
    """
    width = plan.model.width
    linear = 2 * width * (6 * width + 2 * default_mlp_hidden(width))
    own, dense = (
        (work.rows * work.kept * (linear + 4 * width * (work.keys + TEXT_TOKENS))).sum(1)
        for work in (WorkTable.of(plan), WorkTable.dense(plan))
    )
    return (own / dense.sum()).tolist(), (dense / dense.sum()).tolist()


def _costs(axis: Any, plan: SparsityPlan) -> None:
    """Bars beside the rows of the grid."""
    own, dense = scale_shares(plan)
    unguided = any(s.run and not s.guided for s in plan.scales)
    places = range(len(own))
    axis.barh(places, dense, height=0.72, color=BACK)
    axis.barh(places, own, height=0.72, color=BAR)
    widest = max(dense)
    for place, share, whole, step in zip(places, own, dense, plan.scales, strict=True):
        text = f"{100 * share:.1f}" if 0 < share < 0.0995 else f"{100 * share:.0f}"
        text += "" if share == whole else f" of {100 * whole:.0f}"
        if step.run and not step.guided:
            text += ", no guidance"
        axis.text(max(share, whole) + 0.02 * widest, place, text, va="center", fontsize=7,
                  color=INK)
    axis.set_ylim(len(own) - 0.5, -0.5)
    axis.set_xlim(0, widest * (1.9 if unguided else 1.42))
    axis.set_yticks([])
    axis.set_xticks([])
    every = plan.predicted.flop_share if plan.predicted else sum(own)
    axis.set_xlabel(f"FLOPs, % of dense: {100 * every:.0f} in all", loc="left")
    _frame(axis)


def _not_run(axis: Any, plan: SparsityPlan) -> None:
    """Hatches for scales that are not run."""
    from matplotlib.patches import Rectangle

    depth = plan.model.depth
    for s, step in enumerate(plan.scales):
        if step.run:
            continue
        axis.add_patch(Rectangle((-0.5, s - 0.5), depth, 1, facecolor="#f6f6f6",
                                 edgecolor="#cccccc", hatch="////", linewidth=0))
        axis.text((depth - 1) / 2, s, "not run", ha="center", va="center", fontsize=7, color=INK,
                  bbox={"boxstyle": "round,pad=0.2", "facecolor": "white", "edgecolor": "none"})


def _frame(axis: Any) -> None:
    axis.spines[:].set_visible(False)


def _title(plan: SparsityPlan) -> str:
    words = [f"{plan.strategy}, {plan.schedule}"]
    cost = plan.predicted
    if cost and cost.speedup:
        words.append(f"predicted {cost.speedup:.2f} {TIMES} on {cost.device}")
    if cost:
        words.append(f"KV cache {cost.kv_share:.0%} of dense")
    return "\n".join(textwrap.wrap("; ".join(words), 100))

"""A plan as a picture: scales down, layers across, and what each scale costs. Drawn by Pillow."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from ..figures.colours import WORK, colour_bar, coloured
from ..figures.sheet import BLUE, PALE, SOFT, Sheet, png, width_of, wrapped
from ..models.config import default_mlp_hidden
from ..printable import printable
from .cost import TEXT_TOKENS, WorkTable
from .plan import SparsityPlan

TIMES = "\N{MULTIPLICATION SIGN}"
LEFT, ROW = 92.0, 25.0
BAR = 150.0
"""Of the scale that costs most in a dense run."""


def plan_picture(plan: SparsityPlan, title: str | None = None) -> Image.Image:
    """Draw a plan as a grid: the share of tokens that each layer keeps at each scale.

    A bar at each scale has its share of a dense run's FLOPs: pale = dense, filled = this plan.

    Args:
        plan: the plan.
        title: a title. None = the strategy, the schedule and the predicted cost.
    """
    count, depth = len(plan.scales), plan.model.depth
    column = max(16.0, min(34.0, 620 / depth))
    wide, high = column * depth, ROW * count
    told = cost_words(plan)
    notes = max((width_of(words, 9.5) for words in told), default=0.0)
    bars = LEFT + wide + 92
    width = bars + BAR + notes + 20
    lines = wrapped(printable(title or _title(plan)), width - 40, 11, lines=4)
    top = 64.0 + 15 * len(lines)
    sheet = Sheet(width, top + high + 56)
    sheet.text(20, 16, "Tokens that each layer works on", size=14, bold=True)
    for number, line in enumerate(lines):
        sheet.text(20, 38 + 15 * number, line, colour=SOFT)
    for s, step in enumerate(plan.scales):
        y = top + s * ROW
        sheet.text(34, y + ROW / 2, str(s), size=10, anchor="rm")
        rows, columns = step.grid
        sheet.text(LEFT - 10, y + ROW / 2, f"{rows} x {columns}", size=9.5, anchor="rm",
                   colour=SOFT)
        if step.run:
            sheet.picture(coloured([kept_shares(plan)[s]], WORK), LEFT, y, wide, ROW)
        else:
            _not_run(sheet, LEFT, y, wide)
    _grid(sheet, top, column, depth, count)
    every = 1 if column >= 22 else 2 if depth <= 24 else 4
    for layer in range(0, depth, every):
        sheet.text(LEFT + (layer + 0.5) * column, top + high + 6, str(layer), size=9.5, anchor="ma")
    sheet.text(LEFT + wide / 2, top + high + 24, "layer", anchor="ma")
    sheet.text(40, top - 8, "scale, its tokens", size=9.5, colour=SOFT, anchor="ls")
    colour_bar(sheet, LEFT + wide + 12, top, min(high, 190.0), WORK, "tokens kept, %",
               [(n / 100, str(n)) for n in (0, 25, 50, 75, 100)])
    _costs(sheet, plan, bars, top, told)
    return sheet.finish()


def plan_png(plan: SparsityPlan) -> bytes:
    """The picture as a PNG file's content."""
    return png(plan_picture(plan))


def kept_shares(plan: SparsityPlan) -> list[list[float]]:
    """Share of tokens kept at every scale and layer; NaN where the scale is not run."""
    return [[n / s.tokens if s.run else float("nan") for n in s.keep] for s in plan.scales]


def cost_words(plan: SparsityPlan) -> list[str]:
    """What stands beside each scale's bar."""
    found = []
    for step, share, whole in zip(plan.scales, *scale_shares(plan), strict=True):
        text = f"{100 * share:.1f}" if 0 < share < 0.0995 else f"{100 * share:.0f}"
        text += "" if share == whole else f" of {100 * whole:.0f}"
        found.append(text + (", no guidance" if step.run and not step.guided else ""))
    return found


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


def _costs(sheet: Sheet, plan: SparsityPlan, left: float, top: float, told: Sequence[str]) -> None:
    """Bars beside the rows of the grid."""
    own, dense = scale_shares(plan)
    widest = max(dense)
    for s, (share, whole) in enumerate(zip(own, dense, strict=True)):
        y = top + s * ROW
        sheet.box(left, y + 4, max(0.5, BAR * whole / widest), ROW - 8, fill=PALE)
        if share:
            sheet.box(left, y + 4, max(0.5, BAR * share / widest), ROW - 8, fill=BLUE)
        sheet.text(left + BAR * max(share, whole) / widest + 6, y + ROW / 2, told[s], size=9.5,
                   anchor="lm")
    every = plan.predicted.flop_share if plan.predicted else sum(own)
    y = top + ROW * len(own) + 6
    sheet.text(left, y, f"FLOPs: {100 * every:.0f} % of dense", size=10.5)
    sheet.text(left, y + 16, "pale: the same scale in a dense run", size=9.5, colour=SOFT)


def _not_run(sheet: Sheet, left: float, y: float, wide: float) -> None:
    """Hatches for a scale that is not run."""
    sheet.box(left, y, wide, ROW, fill="#f4f5f7")
    step, x = 9.0, left
    while x + ROW <= left + wide:
        sheet.line([(x, y + ROW), (x + ROW, y)], "#d4d8de", 0.8)
        x += step
    sheet.box(left + wide / 2 - 26, y + 5, 52, ROW - 10, fill="#f4f5f7")
    sheet.text(left + wide / 2, y + ROW / 2, "not run", size=9.5, colour=SOFT, anchor="mm")


def _grid(sheet: Sheet, top: float, column: float, depth: int, count: int) -> None:
    """White rules between the cells."""
    for layer in range(1, depth):
        x = LEFT + layer * column
        sheet.line([(x, top), (x, top + ROW * count)], "white", 0.8)
    for s in range(1, count):
        sheet.line([(LEFT, top + s * ROW), (LEFT + depth * column, top + s * ROW)], "white", 0.8)


def _title(plan: SparsityPlan) -> str:
    words = [f"{plan.strategy}, {plan.schedule}"]
    cost = plan.predicted
    if cost and cost.speedup:
        words.append(f"predicted {cost.speedup:.2f} {TIMES} on {cost.device}")
    if cost:
        words.append(f"KV cache {cost.kv_share:.0%} of dense")
    return "; ".join(words)

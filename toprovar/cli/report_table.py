"""A finished run on the terminal: what each scale worked on, and predicted against measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..printable import safe_lines
from ..report_words import loop_seconds, told_time
from ..sparsity.plan_table import kept_shares, percent, table

if TYPE_CHECKING:
    from ..sampling.report import RunReport


def report_table(report: RunReport) -> str:
    """One run for a reader, safe to print; its ``used_plan`` has a predicted cost."""
    assert report.used_plan is not None and report.used_plan.predicted is not None
    cost = report.used_plan.predicted
    rows = []
    if report.source is not None:
        own = report.source
        rows.append(("source", f"{own.grid[0]}x{own.grid[1]}", str(own.tokens), str(own.rows),
                     *kept_shares((own.tokens,) * own.layers, own.tokens), f"{own.seconds:.3f} s"))
    for scale in report.scales:
        head = (str(scale.index), f"{scale.grid[0]}x{scale.grid[1]}", str(scale.tokens))
        rows.append((*head, str(scale.rows), *kept_shares(scale.kept, scale.tokens),
                     f"{scale.seconds:.3f} s") if scale.run
                    else (*head, "-", "-", "-", "-", "not run"))
    lines = table(("scale", "grid", "tokens", "rows", "kept: min", "mean", "max", "time"), rows)
    work = report.token_layers / report.dense_token_layers
    lines += ["", f"{report.plan}: {percent(cost.flop_share)} of a dense run's FLOPs, "
              f"{percent(work)} of its token-layers; KV cache {report.kv_bytes / 2**20:.1f} MiB "
              f"({report.cache_dtype}), about {percent(cost.kv_share)} of dense"]
    told = speedups(report)
    if told is not None or report.dense_seconds is not None:
        lines.append(f"this run: {told_time(report)}")
    if told is not None:
        lines.append(
            f"the plan, before the run: {told['predicted_seconds']:.3f} s predicted, "
            f"{told['predicted']:.2f} x as fast as dense ({told['dense_seconds']:.3f} s, "
            "predicted); by this device's cost model, which has timed single layers")
        lines.append("this is one run, not warmed up: 'toprovar compare' measures it and dense in "
                     "turn")
    return safe_lines([*lines, *(f"note: {note}" for note in report.notes)])


def speedups(report: RunReport) -> dict[str, float] | None:
    """Of the scale loop, for the images of this run together: "predicted" by the cost model, and
    "measured" against the model's time for a dense run, which was not run."""
    cost = report.used_plan and report.used_plan.predicted
    if not cost or cost.seconds is None or cost.dense_seconds is None:
        return None
    # A pipeline's report has the seconds of all its runs; these are this one's.
    seconds = loop_seconds(report)
    own, dense = cost.seconds * report.images, cost.dense_seconds * report.images
    return {"seconds": seconds, "predicted_seconds": own, "dense_seconds": dense,
            "predicted": dense / own, "measured": dense / seconds}

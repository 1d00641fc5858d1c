"""A plan in words: as a table, and what sets two plans apart. Plain ASCII, for any terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ..printable import one_line, safe_lines
from .plan import PredictedCost, ScalePlan, SparsityPlan

LEGEND = "layers, first to last: # all tokens, 9 to 1 tenths of them, . none"
LONGEST = 48
"""Characters of a parameter's value that are shown."""


def plan_table(plan: SparsityPlan) -> str:
    """The plan for a reader: head, one line a scale, predicted cost and notes; safe to print."""
    model = plan.model
    lines = [
        f"{plan.strategy} for {plan.schedule or 'an unnamed schedule'}: {len(plan.scales)} scales "
        f"up to {_grid(plan.scales[-1])} tokens",
        f"model: {model.depth} layers of width {model.width}, {model.num_heads} heads"
        + (f", weights {model.fingerprint}" if model.fingerprint else ", any weights"),
    ]
    if plan.parameters:
        told = (f"{k} {_short(v)}" for k, v in plan.parameters.items() if v is not None)
        lines += _wrapped("settings: ", told)
    lines += ["", *table(
        ("scale", "grid", "tokens", "kept: min", "mean", "max", "layers", "how"),
        [_scale_row(s, step) for s, step in enumerate(plan.scales)], left=(6, 7),
    ), LEGEND]
    if plan.predicted:
        lines += ["", *cost_lines(plan.predicted)]
    if plan.notes:
        lines += ["", *(f"note: {note}" for note in plan.notes)]
    return safe_lines(lines)


def _scale_row(s: int, step: ScalePlan) -> tuple[str, ...]:
    head = (str(s), _grid(step), str(step.tokens))
    if not step.run:
        return (*head, "-", "-", "-", "." * len(step.keep), "not run")
    return (*head, *kept_shares(step.keep, step.tokens),
            "".join(_sign(n, step.tokens) for n in step.keep), _how(step))


def kept_shares(kept: Sequence[int], tokens: int) -> tuple[str, str, str]:
    """Smallest, mean and largest share of tokens over layers, as percentages."""
    shares = [n / tokens for n in kept]
    return percent(min(shares)), percent(sum(shares) / len(shares)), percent(max(shares))


def percent(share: float) -> str:
    """"100 %" only where it is all, "0 %" only where it is nothing. Halves go up, as in a browser.
    """
    text = f"{math.floor(share * 100 + 0.5)}%"
    if (text == "100%" and share < 1) or (text == "0%" and share > 0):
        text = f"{min(share, 0.999):.1%}" if share > 0.5 else "<1%"
    return text.replace("%", " %")


def cost_lines(cost: PredictedCost) -> list[str]:
    """The predicted cost in one or two lines."""
    lines = [
        f"predicted: {_flops(cost.flops)}, {percent(cost.flop_share)} of dense; "
        f"{percent(cost.token_layer_share)} of its token-layers; KV cache at 16 bits "
        f"{cost.kv_bytes / 2**20:.1f} MiB, {percent(cost.kv_share)}"
    ]
    if cost.speedup is not None:
        lines.append(f"scale loop on {cost.device}: {cost.seconds:.3f} s, dense "
                     f"{cost.dense_seconds:.3f} s, speed-up {cost.speedup:.2f} x")
    return lines


def plan_differences(a: SparsityPlan, b: SparsityPlan) -> list[str]:
    """What sets ``b`` apart from ``a``, one difference a line, safe to print; empty for equal
    plans."""
    lines = [
        f"{name}: {_short(old)} -> {_short(new)}"
        for name, old, new in (
            ("strategy", a.strategy, b.strategy), ("schedule", a.schedule, b.schedule),
            *((f"model {k}", v, b.model.model_dump()[k]) for k, v in a.model.model_dump().items()),
            ("seed", a.seed, b.seed), ("scales", len(a.scales), len(b.scales)),
            # The settings of two strategies have nothing in common.
            *(_changes(a.parameters, b.parameters, "parameter ")
              if a.strategy == b.strategy else ()),
            *_changes(a.provenance, b.provenance, "provenance "),
        )
        if old != new
    ]
    for s, (old, new) in enumerate(zip(a.scales, b.scales, strict=False)):
        if old != new:
            lines.append(f"scale {s}: " + "; ".join(_scale_differences(old, new)))
    lines += _cost_differences(a.predicted, b.predicted)
    lines += [f"note only in the first: {n}" for n in a.notes if n not in b.notes]
    lines += [f"note only in the second: {n}" for n in b.notes if n not in a.notes]
    return [one_line(line) for line in lines]


def _scale_differences(a: ScalePlan, b: ScalePlan) -> list[str]:
    if a.run != b.run:
        return [f"{'run' if a.run else 'not run'} -> {'run' if b.run else 'not run'}"]
    lines = []
    if a.grid != b.grid:
        lines.append(f"grid {_grid(a)} -> {_grid(b)}")
    if a.keep != b.keep:
        means = [kept_shares(s.keep, s.tokens)[1] for s in (a, b)]
        line = f"kept {means[0]} -> {means[1]} on average"
        if len(a.keep) == len(b.keep):
            layers = [i for i, (m, n) in enumerate(zip(a.keep, b.keep, strict=True)) if m != n]
            line += f" (layers {_ranges(layers)})"
        lines.append(line)
    for name in ScalePlan.model_fields:
        old, new = getattr(a, name), getattr(b, name)
        if name not in ("grid", "keep", "run") and old != new:
            lines.append(f"{name} {_short(old)} -> {_short(new)}")
    return lines


def _cost_differences(a: PredictedCost | None, b: PredictedCost | None) -> list[str]:
    if a is None or b is None:
        which = "second" if a is None else "first"
        return [] if a is b else [f"predicted cost only in the {which}"]
    lines = []
    if a.flop_share != b.flop_share:
        lines.append(f"predicted FLOPs: {percent(a.flop_share)} -> {percent(b.flop_share)} of "
                     "dense")
    if a.kv_share != b.kv_share:
        lines.append(f"predicted KV cache: {percent(a.kv_share)} -> {percent(b.kv_share)} of "
                     "dense")
    speeds = [f"{c.speedup:.2f} x on {c.device}" if c.speedup else "unknown" for c in (a, b)]
    if speeds[0] != speeds[1]:
        lines.append(f"predicted speed-up: {speeds[0]} -> {speeds[1]}")
    return lines


def _changes(a: dict[str, Any], b: dict[str, Any], prefix: str) -> list[tuple[str, Any, Any]]:
    return [(prefix + k, a.get(k), b.get(k)) for k in dict.fromkeys((*a, *b))]


def _how(step: ScalePlan) -> str:
    """What happens to the tokens of a scale, in words."""
    words = []
    if step.shortcut:
        words.append(f"shortcut to layer {step.shortcut}")
    if step.special:
        words.append(f"random mixtures in {len(step.special.groups)} groups of layers")
    elif any(n < step.tokens for n in step.keep[step.shortcut :]):
        per = " per sub-layer" if step.per == "sublayer" else ""
        rows = ", rows apart" if step.rows == "separate" else ""
        words.append(f"{step.rule}{per}{rows}" if any(map(step.partial, range(len(step.keep))))
                     else "layers not run")
        if step.rejoin:
            words.append(f"the others by shortcut to layer {step.rejoin}")
        if step.dropped == "cached":
            source = "latest" if step.source is None else f"scale {step.source}"
            words.append(f"cached from {source}, {step.resize}")
        if step.region:
            words.append(f"min {step.min_per_region} per {step.region}x{step.region}")
    if step.window:
        words.append(f"attention within {step.window.radius} tokens, the first "
                     f"{step.window.sinks} scales whole")
    if step.cache:
        few, most = min(step.cache), max(step.cache)
        words.append(f"holds {few if few == most else f'{few} to {most}'} keys a layer")
    if not step.guided:
        words.append("no guidance" if step.conditional else "unconditional row only")
    return "; ".join(words)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = ()
          ) -> list[str]:
    """Lines of aligned columns; those of ``left`` to the left, the others to the right."""
    every = [tuple(head), *map(tuple, rows)]
    widths = [max(len(row[i]) for row in every) for i in range(len(head))]
    return ["  ".join(
        cell.ljust(widths[i]) if i in left else cell.rjust(widths[i]) for i, cell in enumerate(row)
    ).rstrip() for row in every]


def _flops(flops: float) -> str:
    for unit, size in (("T", 1e12), ("G", 1e9)):
        if flops >= size:
            return f"{flops / size:.1f} {unit}FLOP"
    return f"{flops / 1e6:.1f} MFLOP"


def _sign(kept: int, tokens: int) -> str:
    if kept in (0, tokens):
        return "#" if kept else "."
    return str(min(max(round(10 * kept / tokens), 1), 9))


def _grid(step: ScalePlan) -> str:
    return f"{step.grid[0]}x{step.grid[1]}"


def _ranges(numbers: Sequence[int]) -> str:
    """[0, 1, 2, 5] -> "0-2, 5"."""
    found: list[list[int]] = []
    for n in numbers:
        if found and n == found[-1][1] + 1:
            found[-1][1] = n
        else:
            found.append([n, n])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in found)


def _short(value: Any) -> str:
    text = "[" + ", ".join(map(_short, value)) + "]" if isinstance(value, (list, tuple)) \
        else str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _wrapped(head: str, words: Iterable[str], width: int = 96) -> list[str]:
    """Comma-separated words, broken into lines between them."""
    lines, line = [], head
    for i, word in enumerate(words):
        piece = word if i == 0 else ", " + word
        if len(line) + len(piece) > width:
            lines.append(line + ",")
            line, piece = " " * len(head), word
        line += piece
    return [*lines, line]

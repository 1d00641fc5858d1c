"""Pictures of what was measured, for a screen and for paper: all of them by Pillow alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..figures.colours import GLOW, WORK, colour_bar, coloured, readable_on
from ..figures.plot import Plot, round_ticks
from ..figures.sheet import BLUE, INK, RED, SOFT, Sheet, wrapped
from .statistics import low_entropy_ratio
from .summary import Summary, ratio_table, rho_table
from .trace import EntropyTrace

LETTERS = {"global": "G", "detail": "D", "ambiguous": "?"}
CELL, GAP = 92.0, 5.0
"""Of a map's longer side, and between maps."""


@dataclass(frozen=True)
class Deviations:
    """Maps of one picture as they are shown.

    Attributes:
        maps: (scale, layer) -> [h, w] percent from the map's own mean.
        low, high: the ends of the colours: all values but the outermost 1 %.
    """

    maps: Mapping[tuple[int, int], Tensor]
    low: float
    high: float


def deviations(trace: EntropyTrace, image: int, scales: Sequence[int], layers: Sequence[int]
               ) -> Deviations:
    """Layers and scales differ far more between one another than tokens do within a map, so the
    deviation is what can be compared."""
    maps = {}
    for scale in scales:
        for layer in layers:
            one = trace.map(scale, layer)[image].double()
            mean = one.nanmean()
            maps[scale, layer] = 100 * (one / mean - 1) if mean else one * 0
    values = torch.cat([v.flatten() for v in maps.values()])
    values = values[~values.isnan()]
    low, high = torch.quantile(values[:: max(1, len(values) // 1_000_000)],
                               torch.tensor([0.01, 0.99], dtype=torch.float64)).tolist()
    return Deviations(maps, low, high)


def entropy_maps(trace: EntropyTrace, image: int = 0, scales: Sequence[int] | None = None,
                 layers: Sequence[int] | None = None, picture: Image.Image | None = None
                 ) -> Image.Image:
    """Draw the entropy maps of one picture: a column for each scale, a row for each layer.

    A map shows how far each token's entropy lies from the mean of its map, in nats. All maps share
    one colour bar: dark = focused, bright = diffuse.

    Args:
        trace: the entropies.
        image: the number of the picture in the trace, counted from 0.
        scales: numbers of scales. None = the last six with at least 4 tokens a side.
        layers: numbers of layers. None = at most six, evenly spread.
        picture: a picture that is shown in front of the maps.
    """
    if scales is None:
        scales = [s for s in trace.scales if min(trace.about.grids[s]) >= 4][-6:] or trace.scales
    if layers is None:
        layers = spread_out(trace.layers, 6)
    shown = deviations(trace, image, scales, layers)
    h, w = trace.about.grids[scales[-1]]
    wide, high = CELL * min(1, w / h), CELL * min(1, h / w)
    prompt = trace.about.prompts[image] if trace.about.prompts else ""
    front = 2 * wide + GAP if picture is not None else 0.0
    left, top = (front + 24 if front else 0.0) + 78, 76.0
    grid = (len(scales) * (wide + GAP) - GAP, len(layers) * (high + GAP) - GAP)
    tall = max(grid[1], 2 * high + GAP + 54 if front else 0.0, 120.0)
    sheet = Sheet(left + grid[0] + 96, top + tall + 18)
    sheet.text(20, 16, "Entropy of attention, token by token", size=14, bold=True)
    sheet.text(20, 36, "dark: the token looks at few others, bright: at many", colour=SOFT)
    if picture is not None:
        sheet.picture(picture, 20, top, front, 2 * high + GAP, smooth=True)
        for number, line in enumerate(wrapped(prompt, front)):
            sheet.text(20, top + 2 * high + GAP + 8 + 15 * number, line)
    for row, layer in enumerate(layers):
        y = top + row * (high + GAP)
        sheet.text(left - 10, y + high / 2, f"layer {layer}", anchor="rm")
        for column, scale in enumerate(scales):
            x = left + column * (wide + GAP)
            tile = coloured(shown.maps[scale, layer].numpy(), GLOW, shown.low, shown.high)
            sheet.picture(tile, x, y, wide, high)
            if not row:
                rows, columns = trace.about.grids[scale]
                sheet.text(x + wide / 2, top - 8, f"scale {scale}", anchor="ms")
                sheet.text(x + wide / 2, top - 21, f"{rows} x {columns}", size=9, colour=SOFT,
                           anchor="ms")
    span = shown.high - shown.low or 1.0
    ticks = [((t - shown.low) / span, f"{t:+g}" if t else "0")
             for t in round_ticks(shown.low, shown.high, 5)]
    colour_bar(sheet, left + grid[0] + 20, top, min(grid[1], 240.0), GLOW,
               "% from the map's mean", ticks)
    return sheet.finish()


def layer_strip(trace: EntropyTrace, summary: Summary) -> Image.Image:
    """sigma1 / sigma2 of every layer at every scale (geometric mean over images), and below it the
    layers' scores at the representative scale with their classes."""
    layers = summary.layers
    scales = [s for s in trace.scales
              if min(trace.about.grids[s]) >= 4 and trace.layers_at(s) == layers]
    scales = scales or [summary.representative]
    ratios = torch.stack([ratio_table(trace, s).log().mean(0).exp() for s in scales])
    low, high = math.log(float(ratios.min())), math.log(float(ratios.max()))
    # A wide model gets narrower columns.
    column = max(20.0, min(40.0, 640 / len(layers)))
    row, left, top = 24.0, 148.0, 64.0
    grid = (column * len(layers), row * len(scales))
    below = top + grid[1] + 24
    sheet = Sheet(max(left + grid[0] + 96, 470.0), below + 96)
    sheet.text(20, 16, "How layers differ", size=14, bold=True)
    sheet.text(20, 36, "sigma1 / sigma2 of their maps: bright varies in one way, dark in many",
               colour=SOFT)
    cells = coloured(ratios.log().numpy(), GLOW, low, max(high, low + 0.01))
    sheet.picture(cells, left, top, *grid)
    for number, scale in enumerate(scales):
        chosen = scale == summary.representative
        rows, columns = trace.about.grids[scale]
        y = top + number * row
        sheet.text(left - 10, y + row / 2, f"scale {scale}   {rows} x {columns}", size=10,
                   anchor="rm", colour=RED if chosen else INK, bold=chosen)
        if chosen:
            sheet.box(left, y, grid[0], row, outline=RED, line=1.4)
    steps = [d * 10**e for e in range(8) for d in (1, 2, 3, 5)]
    ticks = [t for t in steps if low <= math.log(t) <= high] or [math.exp(low)]
    colour_bar(sheet, left + grid[0] + 20, top, max(grid[1], 40.0), GLOW, "sigma1 / sigma2",
               [((math.log(t) - low) / max(high - low, 1e-9), f"{t:.3g}") for t in ticks])
    scores = summary.fit.layer_scores
    sheet.text(left - 10, below + 18, f"score at scale {summary.representative}", size=10,
               anchor="rm")
    sheet.picture(coloured([scores], WORK), left, below, grid[0], 36)
    for i, (score, kind) in enumerate(zip(scores, summary.fit.layer_classes, strict=True)):
        middle, colour = left + (i + 0.5) * column, readable_on(score, WORK)
        sheet.text(middle, below + 12, LETTERS[kind], anchor="mm", colour=colour, bold=True)
        sheet.text(middle, below + 26, f"{score:.2f}", size=min(9.0, column / 2.6), anchor="mm",
                   colour=colour)
        sheet.text(middle, below + 42, str(layers[i]), size=9.5, anchor="ma")
    sheet.text(left, below + 60, "layer      G: Global, D: Detail, ?: ambiguous", size=10,
               colour=SOFT)
    return sheet.finish()


def rho_curve(trace: EntropyTrace, summary: Summary, tau: float | None = None,
              start: int | None = None) -> Image.Image:
    """rho over scales: mean and standard deviation over images, the images themselves, tau and the
    start scale; below it H / log(keys)."""
    scales = [s for s in trace.scales if trace.about.grids[s] != (1, 1)] or list(trace.scales)
    rho = rho_table(trace, scales)
    relative = torch.stack([
        torch.stack([trace.relative(s, n).flatten(1).mean(1) for n in trace.layers_at(s)]).mean(0)
        for s in scales
    ], 1)
    by_layer = torch.stack([low_entropy_ratio(trace.stack(s)).nanmean(0) for s in scales], 1)
    sheet = Sheet(620, 526)
    sheet.text(20, 16, "How scales differ", size=14, bold=True)
    sheet.text(20, 36, "rho: share of tokens whose entropy is low", colour=SOFT)
    ends = (scales[0] - 0.4, scales[-1] + 0.4)
    entries = [("line", BLUE, "mean over images")]
    above = _plot(sheet, (74, 84, 520, 220), ends, [*_numbers(rho), *_numbers(by_layer), 0.5,
                                                    *([tau] if tau is not None else [])])
    above.axes([(s, str(s)) for s in scales], above.ticks, y_title="rho")
    above.band(scales, by_layer.amin(0).tolist(), by_layer.amax(0).tolist(), "#26282c14")
    entries.append(("band", "#26282c22", "range of layers"))
    for row in rho[:40]:
        above.curve(scales, row.tolist(), "#26282c30", 0.7)
    _mean(above, scales, rho, entries)
    above.rule(0.5, SOFT, dash=2, width=0.8)
    if tau is not None:
        above.rule(tau, RED, dash=4)
        entries.append(("dash", RED, f"tau = {tau:.2f}"))
    beneath = _plot(sheet, (74, 346, 520, 110), ends, _numbers(relative))
    rows = [trace.about.grids[s] for s in scales]
    beneath.axes([(s, f"{s}\n{h} x {w}") for s, (h, w) in zip(scales, rows, strict=True)],
                 beneath.ticks, "scale, and its tokens", "H / log(keys)")
    _mean(beneath, scales, relative, [])
    if start is not None:
        for plot in (above, beneath):
            plot.rule(start - 0.5, RED, across=False)
        x, _ = above.at(start - 0.5, 0)
        late = x > sheet.width / 2
        sheet.text(x + (-5 if late else 5), 86, "pruned from here", size=9.5, colour=RED,
                   anchor="ra" if late else "la")
    above.legend(entries)
    return sheet.finish()


class _Scaled(Plot):
    """A plot whose y axis fits its values.

    Attributes:
        ticks: of y.
    """

    ticks: list[tuple[float, str]]


def _plot(sheet: Sheet, box: tuple[float, float, float, float], x: tuple[float, float],
          values: Sequence[float]) -> _Scaled:
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.08 * (high - low) or 0.05
    made = _Scaled(sheet, box, x, (low - room, high + room))
    made.ticks = [(t, f"{t:g}") for t in round_ticks(low - room, high + room, 6)]
    return made


def _numbers(values: Tensor) -> list[float]:
    return [v for v in values.double().flatten().tolist() if not math.isnan(v)]


def _mean(plot: Plot, xs: Sequence[int], values: Tensor, entries: list[tuple[str, str, str]]
          ) -> None:
    """Mean of [B, S] over B and its standard deviation as a band."""
    mean = values.double().nanmean(0)
    if len(values) > 1:
        sd = values.double().std(0)
        plot.band(xs, (mean - sd).tolist(), (mean + sd).tolist(), BLUE + "40")
        entries.append(("band", BLUE + "40", "standard deviation"))
    plot.curve(xs, mean.tolist(), BLUE, 1.8, marks=True)


def kept_overlay(picture: Image.Image, kept: Mapping[int, Tensor], side: int = 192) -> Image.Image:
    """The picture once for each scale, with dropped tokens faded: a row of panels.

    Args:
        picture: the finished picture.
        kept: scale -> [h, w]: True or 1 where a token was kept, or the share of layers that kept
            it (0 to 1).
        side: pixels along the longer side of a panel.
    """
    if not kept:
        raise ValueError("there are no scales to show: give at least one map of kept tokens")
    factor = side / max(picture.size)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    small = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    # What was dropped keeps its outline, grey and dark: pictures' backgrounds are mostly bright.
    faded = Image.blend(small.convert("L").convert("RGB"), Image.new("RGB", size, "#2b2d42"), 0.72)
    label, gap = 18, 4
    sheet = Image.new("RGB", (len(kept) * (size[0] + gap) - gap, size[1] + label), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (scale, mask) in enumerate(sorted(kept.items())):
        if mask.ndim != 2:
            raise ValueError(f"scale {scale}: kept tokens must be [h, w], got {tuple(mask.shape)}")
        share = mask.float().clamp(0, 1)
        levels = Image.fromarray((share * 255).round().to(torch.uint8).cpu().numpy())
        panel = Image.composite(small, faded, levels.resize(size, Image.Resampling.NEAREST))
        x = i * (size[0] + gap)
        sheet.paste(panel, (x, label))
        h, w = mask.shape
        draw.text((x + 2, 3), f"scale {scale}  {h}x{w}  {float(share.mean()):.0%}", fill=INK)
    return sheet


def spread_out(values: Sequence[int], most: int) -> list[int]:
    """At most ``most`` of the values, first and last among them, evenly spread."""
    if len(values) <= most:
        return list(values)
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]

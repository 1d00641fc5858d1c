"""Pictures of what was measured, for a screen and for paper.

matplotlib is imported when a figure is asked for (the extra ``analysis``). Figures are matplotlib
figures, free of its global state; :func:`png` makes a file of one. :func:`kept_overlay` needs
Pillow alone.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from .statistics import low_entropy_ratio
from .summary import Summary, ratio_table, rho_table
from .trace import EntropyTrace

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = "viridis"
MARK = "#c1272d"
INK = "#333333"
LETTERS = {"global": "G", "detail": "D", "ambiguous": "?"}


def new_figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError("pictures of entropy need matplotlib: pip install 'toprovar[analysis]'"
                         ) from None
    return Figure(figsize=(width, height), layout="constrained")


def png(figure: Figure, dpi: int = 150) -> bytes:
    """A PNG file's content."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"toprovar": "{}"})
    return buffer.getvalue()


def entropy_maps(trace: EntropyTrace, image: int = 0, scales: Sequence[int] | None = None,
                 layers: Sequence[int] | None = None, picture: Image.Image | None = None
                 ) -> Figure:
    """Scales across, layers down, each map's deviation from its own mean under one colour bar.

    Layers and scales differ far more between one another than tokens do within a map, so the
    deviation is shown: dark = focused, bright = diffuse. Limits leave out the outermost 1 %.

    Args:
        scales: default: the last six with at least 4 tokens a side.
        layers: default: at most six, evenly spread.
        picture: shown in front of the maps.
    """
    if scales is None:
        scales = [s for s in trace.scales if min(trace.about.grids[s]) >= 4][-6:] or trace.scales
    if layers is None:
        layers = spread_out(trace.layers, 6)
    shown = {}
    for scale in scales:
        for layer in layers:
            one = trace.map(scale, layer)[image].double()
            mean = one.nanmean()
            shown[scale, layer] = 100 * (one / mean - 1) if mean else one * 0
    values = torch.cat([v.flatten() for v in shown.values()])
    values = values[~values.isnan()]
    low, high = torch.quantile(values[:: max(1, len(values) // 1_000_000)],
                               torch.tensor([0.01, 0.99], dtype=torch.float64)).tolist()
    extra = 1 if picture is not None else 0
    rows, columns = len(layers), len(scales) + extra
    figure = new_figure(1.25 * columns + 0.9, 1.25 * rows + 0.5)
    axes: Any = figure.subplots(rows, columns, squeeze=False)
    drawn: Any = None
    for row, layer in enumerate(layers):
        for column, scale in enumerate(scales):
            axis = axes[row][column + extra]
            axis.set_facecolor("0.6")
            drawn = axis.imshow(shown[scale, layer].numpy(), cmap=COLOURS, vmin=low, vmax=high,
                                interpolation="nearest")
            _bare(axis)
            if row == 0:
                h, w = trace.about.grids[scale]
                axis.set_title(f"scale {scale}\n{h}×{w}", fontsize=8)
            if column == 0:
                axis.set_ylabel(f"layer {layer}", fontsize=8)
    if picture is not None:
        for row in range(rows):
            axes[row][0].axis("off")
        axes[0][0].imshow(picture)
        if trace.about.prompts:
            axes[0][0].set_title(_wrapped(trace.about.prompts[image], 18), fontsize=7)
    bar = figure.colorbar(drawn, ax=axes, fraction=0.03, pad=0.01, extend="both")
    bar.set_label("entropy, % from the map's mean", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    return figure


def layer_strip(trace: EntropyTrace, summary: Summary) -> Figure:
    """σ1/σ2 of every layer at every scale (geometric mean over images), and below it the layers'
    scores at the representative scale with their classes."""
    from matplotlib.colors import LogNorm  # present, or _figure says what is missing

    layers = summary.layers
    scales = [s for s in trace.scales
              if min(trace.about.grids[s]) >= 4 and trace.layers_at(s) == layers]
    scales = scales or [summary.representative]
    ratios = torch.stack([ratio_table(trace, s).log().mean(0).exp() for s in scales])
    # A wide model gets narrower columns.
    figure = new_figure(max(4.5, min(12.0, 0.42 * len(layers) + 2)), 0.3 * len(scales) + 2.3)
    grid = figure.add_gridspec(2, 1, height_ratios=[max(2, len(scales)), 1])
    top, bottom = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    low, high = float(ratios.min()), float(ratios.max())
    drawn = top.imshow(ratios.numpy(), cmap=COLOURS, aspect="auto",
                       norm=LogNorm(low, max(high, low * 1.01)))
    top.set_yticks(range(len(scales)), [
        f"scale {s}, {trace.about.grids[s][0]}×{trace.about.grids[s][1]}" for s in scales
    ], fontsize=7)
    top.set_xticks([])
    if summary.representative in scales:
        row = scales.index(summary.representative)
        top.get_yticklabels()[row].set(color=MARK, fontweight="bold")
        for edge in (row - 0.5, row + 0.5):
            top.axhline(edge, color=MARK, linewidth=1)
    bar = figure.colorbar(drawn, ax=top, pad=0.01)
    bar.set_label("σ1 / σ2", fontsize=8)
    ticks = [t for t in (d * 10**e for e in range(8) for d in (1, 2, 3, 5)) if low <= t <= high]
    bar.set_ticks(ticks or [low], labels=[f"{t:.0f}" for t in ticks or [low]], minor=False)
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=7)
    scores = torch.tensor(summary.fit.layer_scores)
    drawn = bottom.imshow(scores[None].numpy(), cmap="cividis", aspect="auto", vmin=0, vmax=1)
    bottom.set_yticks([0], [f"score, scale {summary.representative}"], fontsize=7)
    small = len(layers) > 24
    for i, (score, kind) in enumerate(zip(scores.tolist(), summary.fit.layer_classes, strict=True)):
        bottom.text(i, 0, LETTERS[kind] if small else f"{LETTERS[kind]}\n{score:.2f}",
                    ha="center", va="center", fontsize=7, color="white" if score < 0.5 else "black")
    bottom.set_xticks(range(len(layers)), [str(n) for n in layers], fontsize=7)
    bottom.set_xlabel("layer   (G Global, D Detail, ? ambiguous)", fontsize=8)
    bar = figure.colorbar(drawn, ax=bottom, pad=0.01)
    bar.ax.tick_params(labelsize=7)
    return figure


def rho_curve(trace: EntropyTrace, summary: Summary, tau: float | None = None,
              start: int | None = None) -> Figure:
    """ρ over scales: mean and standard deviation over images, the images themselves, τ and the
    start scale; below it H / log(keys)."""
    scales = [s for s in trace.scales if trace.about.grids[s] != (1, 1)] or list(trace.scales)
    rho = rho_table(trace, scales)
    figure = new_figure(5.2, 4.2)
    axes: Any = figure.subplots(2, 1, sharex=True, height_ratios=[1.6, 1])
    top, bottom = axes
    for row in rho[:40]:
        top.plot(scales, row, color=INK, alpha=0.12, linewidth=0.7)
    _band(top, scales, rho, "ρ, mean ± sd over images")
    by_layer = torch.stack([low_entropy_ratio(trace.stack(s)).nanmean(0) for s in scales], 1)
    top.fill_between(scales, by_layer.amin(0), by_layer.amax(0), color=INK, alpha=0.08, linewidth=0,
                     label="range of layers")
    top.axhline(0.5, color=INK, linewidth=0.6, linestyle=":")
    if tau is not None:
        top.axhline(tau, color=MARK, linewidth=1, linestyle="--", label=f"τ = {tau:.2f}")
    if start is not None:
        for axis in axes:
            axis.axvline(start - 0.5, color=MARK, linewidth=1, alpha=0.6)
        top.text(start - 0.45, top.get_ylim()[0], " pruned from here", color=MARK, fontsize=7,
                 va="bottom")
    top.set_ylabel("ρ", fontsize=9)
    top.legend(fontsize=7, frameon=False, loc="best")
    relative = torch.stack([
        torch.stack([trace.relative(s, n).flatten(1).mean(1) for n in trace.layers_at(s)]).mean(0)
        for s in scales
    ], 1)
    _band(bottom, scales, relative, "")
    bottom.set_ylabel("H / log(keys)", fontsize=8)
    bottom.set_xlabel("scale (tokens a side)", fontsize=8)
    bottom.set_xticks(scales, [f"{s}\n{trace.about.grids[s][0]}×{trace.about.grids[s][1]}"
                               for s in scales], fontsize=7)
    for axis in axes:
        axis.tick_params(axis="y", labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _band(axis: Any, x: Sequence[int], values: Tensor, label: str) -> None:
    """Mean of [B, S] over B and its standard deviation as a band."""
    mean = values.double().nanmean(0)
    axis.plot(x, mean, color="#21618c", linewidth=1.6, marker="o", markersize=3,
              label=label or None)
    if len(values) > 1:
        sd = values.double().std(0)
        axis.fill_between(x, mean - sd, mean + sd, color="#21618c", alpha=0.25, linewidth=0)


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


def _bare(axis: Any) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_linewidth(0.4)


def _wrapped(text: str, width: int) -> str:
    import textwrap

    lines = textwrap.wrap(text, width)
    return "\n".join(lines[:3]) + ("…" if len(lines) > 3 else "")

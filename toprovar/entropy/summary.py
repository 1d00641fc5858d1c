"""A trace in figures: what each scale and each layer is like, and how far prompts agree on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .schedule_entry import ScaleStatistics, ScheduleEntry, Spread
from .statistics import (
    Informative,
    LayerClass,
    RatioScale,
    classify,
    correlation,
    layer_score,
    low_entropy_ratio,
    order_stability,
    principal_ratio,
    quantile_skew,
    relative_spread,
    rho_informative,
)
from .trace import EntropyTrace

LOWEST_SCORE = 0.05
"""beta is chosen so that the most Global layer has this score."""
AGREEMENT = 0.8
"""Share of prompts that must put a layer on one side of the threshold for it to have a class."""
LARGEST_RATIO = 1e7
"""Stands for an infinite sigma_1 / sigma_2 in averages and files."""
SMALLEST_SIDE = 4
"""Maps with a shorter side are left out where singular values or neighbours are looked at."""
GOOD_ENOUGH = 0.75
"""Share of the best scale's quality that the representative scale must have."""
MIDDLE = 6 / 13
"""Where the published representative scale lies (index 6 of 13)."""


def rho_table(trace: EntropyTrace, scales: Sequence[int] | None = None) -> Tensor:
    """[B, S] rho of each image at each scale, mean over layers, float64; NaN for one token."""
    scales = trace.scales if scales is None else scales
    return torch.stack([_over_layers(low_entropy_ratio(trace.stack(s))) for s in scales], 1)


def ratio_table(trace: EntropyTrace, scale: int) -> Tensor:
    """[B, L] sigma_1 / sigma_2 at a scale, at most LARGEST_RATIO, float64."""
    return principal_ratio(trace.stack(scale)).clamp(max=LARGEST_RATIO)


def scale_statistics(trace: EntropyTrace) -> tuple[ScaleStatistics, ...]:
    """One for each recorded scale."""
    return tuple(_one_scale(trace, scale) for scale in trace.scales)


def _one_scale(trace: EntropyTrace, scale: int) -> ScaleStatistics:
    layers = trace.layers_at(scale)
    maps = trace.stack(scale)
    relative = torch.stack([trace.relative(scale, n) for n in layers], 1)
    return ScaleStatistics(
        grid=trace.about.grids[scale],
        entropy=_need(spread_of(maps.double().mean((1, 2, 3)))),
        relative=_need(spread_of(relative.double().mean((1, 2, 3)))),
        rho=spread_of(_over_layers(low_entropy_ratio(maps))),
        spread=spread_of(relative_spread(maps).mean(1)),
        skew=spread_of(_over_layers(quantile_skew(maps))),
        follows=spread_of(follow_table(trace, scale).flatten()),
    )


def follow_table(trace: EntropyTrace, scale: int) -> Tensor:
    """[B, L] correlation of each map with the bilinearly upsampled one of the scale before; [B, 0]
    where there is none of at least SMALLEST_SIDE tokens a side."""
    grid = trace.about.grids[scale]
    layers = [n for n in trace.layers_at(scale) if (scale - 1, n) in trace.maps]
    if not layers or min(trace.about.grids[scale - 1]) < SMALLEST_SIDE:
        return torch.empty(trace.images, 0)
    before = F.interpolate(trace.stack(scale - 1, layers), size=grid, mode="bilinear",
                           align_corners=False)
    return correlation(trace.stack(scale, layers), before)


@dataclass(frozen=True)
class LayerFit:
    """What the layers' singular values say at one scale; fields as in ``ScheduleEntry``."""

    beta: float
    ratio_scale: RatioScale
    ratio_reference: float
    class_low: float
    class_high: float
    principal_ratios: tuple[Spread, ...]
    layer_scores: tuple[float, ...]
    layer_classes: tuple[LayerClass, ...]


def fit_layers(ratios: Tensor, ratio_scale: RatioScale = "log") -> LayerFit:
    """Scores and classes from [B, L] ratios.

    - reference: the smallest of the layers' geometric means (so that the most Detail layer has
      R = 1); beta: R = LOWEST_SCORE at the largest.
    - The threshold between Global and Detail cuts the logarithms where the two parts differ most
      (Otsu). Half the prompts' scatter on either side of it is ambiguous, and so is a layer that
      fewer than AGREEMENT of the prompts put on one side.
    """
    logs = ratios.double().log()
    means = logs.mean(0)
    low, high = float(means.min()), float(means.max())
    scatter = float(logs.std(0).mean()) if len(logs) > 1 else 0.0
    reference = math.exp(low) if ratio_scale == "log" else 1.0
    distance = high - low if ratio_scale == "log" else math.exp(high) - 1
    # Layers that do not differ by more than prompts scatter have no order to speak of.
    alike = high - low <= max(scatter, 1e-9)
    beta = -math.log(LOWEST_SCORE) / distance if distance > 1e-9 else 0.0
    scores = layer_score(means.exp(), beta, ratio_scale, reference)
    cut = _otsu(means)
    margin = max(scatter, 1e-6) / 2
    edges = layer_score(torch.tensor([cut + margin, cut - margin]).exp(), beta, ratio_scale,
                        reference).tolist()
    if alike or not edges[0] < edges[1]:
        edges = [0.0, 1.0]
    classes = list(classify(scores.tolist(), *edges))
    above = (logs > cut).double().mean(0)
    for layer, share in enumerate(above.tolist()):
        if alike or max(share, 1 - share) < AGREEMENT:
            classes[layer] = "ambiguous"
    return LayerFit(
        beta, ratio_scale, reference, edges[0], edges[1],
        tuple(_need(spread_of(column, log=True)) for column in ratios.double().unbind(1)),
        tuple(scores.tolist()), tuple(classes),
    )


def score_layers(ratios: Tensor, entry: ScheduleEntry) -> LayerFit:
    """The same with a calibration's own numbers: only the ratios are new."""
    means = ratios.double().log().mean(0).exp()
    scores = layer_score(means, entry.beta, entry.ratio_scale, entry.ratio_reference).tolist()
    return LayerFit(
        entry.beta, entry.ratio_scale, entry.ratio_reference, entry.class_low, entry.class_high,
        tuple(_need(spread_of(column, log=True)) for column in ratios.double().unbind(1)),
        tuple(scores), classify(scores, entry.class_low, entry.class_high),
    )


def representative_scale(trace: EntropyTrace) -> int:
    """The scale whose maps are to say which layers are Global.

    Its quality is how far images agree on the order of layers, times how far that order is the
    last recorded scale's. The earliest scale before the last with GOOD_ENOUGH of the best quality
    there is taken: a plan made inside a run prunes only after it. Of a single image, or a single
    layer, the published place (6 of 13).
    """
    grids = trace.about.grids
    able = [s for s in trace.scales if min(grids[s]) >= SMALLEST_SIDE]
    if not able:
        return trace.scales[-1]
    candidates = [s for s in able if s < len(grids) - 1] or able
    last = ratio_table(trace, able[-1]).log().mean(0)
    quality: dict[int, float] = {}
    for scale in candidates:
        if trace.layers_at(scale) == trace.layers_at(able[-1]):
            ratios = ratio_table(trace, scale)
            alike = order_stability(torch.stack([ratios.log().mean(0), last]))
            found = order_stability(ratios) * max(alike, 0)
            if not math.isnan(found):
                quality[scale] = found
    if not quality:
        wanted = round(MIDDLE * (len(grids) - 1))
        return min(candidates, key=lambda s: abs(s - wanted))
    best = max(quality.values())
    return min(s for s, found in quality.items() if found >= GOOD_ENOUGH * best or found == best)


@dataclass(frozen=True)
class Summary:
    """A trace's figures.

    Attributes:
        scales: scale -> its statistics.
        layers: recorded layers, in the order of ``fit``'s tuples.
        order_stability: see ``ScheduleEntry``; NaN for one image.
        map_stability: layer -> mean correlation of its map at the representative scale between
            images: near 1 it marks places (positional), near 0 it marks what an image shows.
    """

    scales: dict[int, ScaleStatistics]
    layers: tuple[int, ...]
    fit: LayerFit
    representative: int
    order_stability: float
    map_stability: tuple[float, ...]
    rho: Informative

    def to_json(self) -> dict[str, Any]:
        def number(value: float) -> float | None:
            return value if math.isfinite(value) else None

        fit = self.fit
        return {
            "representative_scale": self.representative,
            "order_stability": number(self.order_stability),
            "rho": {"informative": self.rho.informative, "reason": self.rho.reason,
                    "spread_over_scales": number(self.rho.spread_over_scales),
                    "spread_over_prompts": number(self.rho.spread_over_prompts)},
            "beta": fit.beta, "ratio_scale": fit.ratio_scale,
            "ratio_reference": fit.ratio_reference,
            "class_low": fit.class_low, "class_high": fit.class_high,
            "scales": {str(s): found.model_dump(mode="json") for s, found in self.scales.items()},
            "layers": {
                str(n): {"ratio": fit.principal_ratios[i].model_dump(),
                         "score": fit.layer_scores[i], "class": fit.layer_classes[i],
                         "map_stability": number(self.map_stability[i])}
                for i, n in enumerate(self.layers)
            },
        }


def summarise(trace: EntropyTrace, entry: ScheduleEntry | None = None) -> Summary:
    """All figures of a trace, with the scores of a calibration if there is one, else with scores
    fitted to the trace itself."""
    scale = entry.representative_scale if entry else representative_scale(trace)
    if scale not in trace.scales:
        scale = min(trace.scales, key=lambda s: abs(s - scale))
    ratios = ratio_table(trace, scale)
    return Summary(
        dict(zip(trace.scales, scale_statistics(trace), strict=True)),
        trace.layers_at(scale),
        score_layers(ratios, entry) if entry else fit_layers(ratios),
        scale,
        order_stability(ratios),
        tuple(map_stability(trace.map(scale, n)) for n in trace.layers_at(scale)),
        rho_informative(rho_table(trace)),
    )


def map_stability(maps: Tensor) -> float:
    """Mean correlation between the maps [B, h, w] of different images; NaN for one image."""
    if len(maps) < 2:
        return math.nan
    pairs = torch.combinations(torch.arange(len(maps)), 2)
    return float(correlation(maps[pairs[:, 0]], maps[pairs[:, 1]]).nanmean())


def spread_of(values: Tensor, log: bool = False) -> Spread | None:
    """Mean and standard deviation of [B] (NaN left out), or with ``log`` the geometric mean and
    the standard deviation of the logarithm; None if nothing is left."""
    values = values.double()
    values = values[~values.isnan()]
    if not len(values):
        return None
    values = values.log() if log else values
    mean = float(values.mean())
    sd = float(values.std()) if len(values) > 1 else 0.0
    return Spread(mean=math.exp(mean) if log else mean, sd=sd)


def _need(spread: Spread | None) -> Spread:
    if spread is None:
        raise ValueError("the trace has unmeasured tokens only")
    return spread


def _over_layers(values: Tensor) -> Tensor:
    """[B, L] -> [B], NaN left out."""
    return values.nanmean(1)


def _otsu(values: Tensor) -> float:
    """The cut that maximises the variance between the two parts; in the middle of its gap."""
    ordered = values.sort().values
    best, cut = -1.0, float(ordered[0])
    for i in range(1, len(ordered)):
        low, high = ordered[:i], ordered[i:]
        between = float(len(low) * len(high) * (high.mean() - low.mean()) ** 2)
        if between > best:
            best, cut = between, float((ordered[i - 1] + ordered[i]) / 2)
    return cut

"""Numbers drawn from entropy maps: pure functions, in float64.

A map is [..., h, w]: the entropy H_i (nats) of each token of one layer at one scale. Leading
dimensions (prompts, layers, heads) are kept. The symbols are those of arXiv 2602.22948.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .kinds import Crossing, LayerClass, Normalization, RatioScale

CONSTANT = 1e-6
"""A map whose values differ by less than this share of its mean is taken for constant (maps are
float32)."""


def low_entropy_ratio(entropy: Tensor) -> Tensor:
    """rho = share of tokens with H_i < mean(H).

    Returns:
        [...] float64 in [0, 1). NaN where nothing can be compared: one token, or a constant map.
    """
    flat = _checked(entropy).flatten(-2)
    mean = flat.mean(-1, keepdim=True)
    rho = (flat < mean).double().mean(-1)
    return rho.masked_fill(_constant(flat), math.nan)


def start_scale(rhos: Sequence[float], tau: float, crossing: Crossing, first: int = 0
                ) -> int | None:
    """D = the first scale s >= ``first`` with rho_s >= tau ("rising") or rho_s <= tau ("falling").

    NaN never crosses.

    Returns:
        the scale, or None when there is none: then nothing should be pruned.
    """
    if crossing not in ("rising", "falling"):
        raise ValueError(f"crossing must be 'rising' or 'falling', got {crossing!r}")
    for scale, rho in enumerate(rhos):
        if scale >= first and (rho >= tau if crossing == "rising" else rho <= tau):
            return scale
    return None


def principal_ratio(entropy: Tensor) -> Tensor:
    """sigma_1 / sigma_2 of the map as an h x w matrix.

    Returns:
        [...] float64, at least 1; infinite for a map of rank one (a single row or column, a
        constant, a product of a column and a row) and for a map of zeros.
    """
    entropy = _checked(entropy)
    h, w = entropy.shape[-2:]
    if min(h, w) == 1:
        return entropy.new_full(entropy.shape[:-2], math.inf)
    sigma = torch.linalg.svdvals(entropy)
    first, second = sigma[..., 0], sigma[..., 1]
    # Below the rounding of the float32 map, sigma_2 is noise.
    rank_one = second <= first * max(h, w) * torch.finfo(torch.float32).eps
    return torch.where(rank_one, math.inf, first / second.masked_fill(rank_one, 1))


def layer_score(ratio: Tensor | float, beta: float, scale: RatioScale = "raw",
                reference: float = 1.0) -> Tensor:
    """R, how far a layer's tokens can be dropped: 1 = Detail, 0 = Global.

    raw: R = exp(-beta (ratio - 1)), as published.
    log: R = exp(-beta ln(ratio / reference)) = (ratio / reference) ** -beta, at most 1.

    Args:
        ratio: sigma_1 / sigma_2, any shape; infinite gives 0 (beta > 0).
        beta: strength; 0 gives 1 everywhere.
        reference: the ratio of a pure Detail layer, for "log".
    """
    ratio = torch.as_tensor(ratio, dtype=torch.float64)
    if not beta >= 0 or not math.isfinite(beta):
        raise ValueError(f"beta must be 0 or more, got {beta}")
    if scale not in ("raw", "log"):
        raise ValueError(f"scale must be 'raw' or 'log', got {scale!r}")
    if not reference > 0:
        raise ValueError(f"reference must be positive, got {reference}")
    if beta == 0:
        return torch.ones_like(ratio)
    distance = ratio - 1 if scale == "raw" else torch.log(ratio / reference)
    return torch.exp(-beta * distance).clamp(max=1)


def classify(scores: Sequence[float], low: float, high: float) -> tuple[LayerClass, ...]:
    """"global" up to ``low``, "detail" from ``high`` on, "ambiguous" between (and for NaN).

    A planner treats an ambiguous layer as Global.
    """
    if not low < high:
        raise ValueError(f"low must be below high, got {low} and {high}")
    return tuple(
        "global" if s <= low else "detail" if s >= high else "ambiguous" for s in scores
    )


def normalised_entropy(entropy: Tensor, normalization: Normalization = "mean") -> Tensor:
    """H^, the map on a scale of its own.

    mean: H_i / mean(H), 1 on average.
    sum:  H_i / sum(H), as published: 1 in all, so of order 1 / N each.
    rank: 2 (r_i + 1/2) / N with r_i the rank from 0, 1 on average, from 0 to 2 whatever the spread;
          for models whose entropies hardly differ. Ties share their middle rank.

    Returns:
        [..., h, w] float64. A map of zeros counts as constant.
    """
    entropy = _checked(entropy)
    h, w = entropy.shape[-2:]
    if normalization == "rank":
        flat = entropy.flatten(-2)
        ordered = flat.sort(-1).values
        below = torch.searchsorted(ordered, flat.contiguous())
        up_to = torch.searchsorted(ordered, flat.contiguous(), right=True)
        return ((below + up_to).double() / (h * w)).unflatten(-1, (h, w))
    if normalization not in ("mean", "sum"):
        raise ValueError(f"normalization must be 'mean', 'sum' or 'rank', got {normalization!r}")
    mean = entropy.mean((-2, -1), keepdim=True)
    unit = torch.where(mean == 0, 1.0, entropy / mean.masked_fill(mean == 0, 1))
    return unit if normalization == "mean" else unit / (h * w)


def keep_probability(normalised: Tensor, phi: float, score: Tensor | float, alpha_min: float,
                     alpha_max: float) -> Tensor:
    """P_keep = 1 - clip(alpha_min + (alpha_max - alpha_min) q, 0, 1), q = phi R H^.

    For scales from the start scale on; before it, P_keep is 1.

    Args:
        normalised: [..., h, w] from :func:`normalised_entropy`.
        phi: s / S_max.
        score: R, a number or [...].
    """
    score = torch.as_tensor(score, dtype=torch.float64, device=normalised.device)[..., None, None]
    tendency = phi * score * normalised.double()
    return 1 - (alpha_min + (alpha_max - alpha_min) * tendency).clamp(0, 1)


def relative_spread(entropy: Tensor) -> Tensor:
    """std(H) / mean(H) (population form), [...] float64: how far tokens differ at all.

    A threshold-free companion of rho; 0 for a constant map and for one token.
    """
    flat = _checked(entropy).flatten(-2)
    mean = flat.mean(-1)
    return torch.where(_constant(flat), 0.0, flat.std(-1, correction=0) / mean.clamp(min=1e-30))


def quantile_skew(entropy: Tensor, share: float = 0.1) -> Tensor:
    """(q_hi + q_lo - 2 median) / (q_hi - q_lo), q_lo and q_hi the quantiles at ``share`` and
    1 - ``share``: [...] float64 in [-1, 1].

    Below 0 the map has a tail of few, low-entropy (focused) tokens; rho then lies below 0.5. It
    says what rho says with less noise, because every token's distance counts. NaN as rho's.
    """
    flat = _checked(entropy).flatten(-2)
    at = torch.tensor([share, 0.5, 1 - share], dtype=torch.float64, device=flat.device)
    low, middle, high = torch.quantile(flat, at, dim=-1)
    skew = (high + low - 2 * middle) / (high - low).clamp(min=1e-30)
    return skew.masked_fill(_constant(flat) | (high <= low), math.nan)


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation of two maps, [...] float64; NaN where one is constant."""
    x, y = (_checked(m).flatten(-2) for m in (a, b))
    none = _constant(x) | _constant(y)
    x, y = (m - m.mean(-1, keepdim=True) for m in (x, y))
    return ((x * y).sum(-1) / (x.norm(dim=-1) * y.norm(dim=-1))).masked_fill(none, math.nan)


def order_stability(values: Tensor) -> float:
    """Mean Spearman correlation between the rows of [P, L]: 1 = the same order of the L layers for
    all P prompts. NaN for fewer than two rows or columns."""
    if values.shape[0] < 2 or values.shape[1] < 2:
        return math.nan
    values = values.double()
    below = (values[:, None] < values[:, :, None]).double().sum(-1)
    equal = (values[:, None] == values[:, :, None]).double().sum(-1)
    rank = below + (equal - 1) / 2
    rank = rank - rank.mean(1, keepdim=True)
    length = rank.norm(dim=1, keepdim=True)
    rank = rank / length.masked_fill(length == 0, 1)
    rows = values.shape[0]
    return float(((rank @ rank.T).sum() - rank.square().sum()) / (rows * (rows - 1)))


@dataclass(frozen=True)
class Informative:
    """Whether rho can tell scales apart.

    Attributes:
        spread_over_scales: largest minus smallest of the scales' means.
        spread_over_prompts: standard deviation over prompts, averaged over scales.
        reason: in words.
    """

    informative: bool
    spread_over_scales: float
    spread_over_prompts: float
    reason: str


def rho_informative(rhos: Tensor, near_half: float = 0.1, times: float = 2.0) -> Informative:
    """Judge rho [P, S] (prompts x scales; NaN allowed): informative when it moves over scales at
    least ``times`` as far as it scatters over prompts, and leaves 0.5 by more than ``near_half``
    somewhere (at 0.5 - where any symmetric map lies - it says nothing).
    """
    rhos = rhos.double()[:, ~rhos.isnan().any(0)]
    if rhos.shape[1] < 2 or rhos.shape[0] < 2:
        return Informative(False, math.nan, math.nan,
                           "fewer than two prompts, or two scales with a value")
    means = rhos.mean(0)
    across, scatter = float(means.max() - means.min()), float(rhos.std(0).mean())
    away = float((means - 0.5).abs().max())
    figures = (f"its means run from {float(means.min()):.3f} to {float(means.max()):.3f}, "
               f"prompts scatter by {scatter:.3f}")
    if away <= near_half:
        return Informative(False, across, scatter,
                           f"rho stays within {near_half} of 0.5: {figures}")
    if across < times * scatter:
        return Informative(False, across, scatter,
                           f"rho changes over scales by less than {times:g} x its scatter over "
                           f"prompts: {figures}")
    return Informative(True, across, scatter, figures)


def _checked(entropy: Tensor) -> Tensor:
    if entropy.ndim < 2 or 0 in entropy.shape[-2:]:
        raise ValueError(f"an entropy map is [..., h, w], got shape {tuple(entropy.shape)}")
    entropy = entropy.double()
    if not bool(entropy.isfinite().all()):
        raise ValueError("the entropy map has values that are not finite")
    return entropy


def _constant(flat: Tensor) -> Tensor:
    low, high = flat.aminmax(dim=-1)
    return high - low <= CONSTANT * flat.mean(-1).abs()

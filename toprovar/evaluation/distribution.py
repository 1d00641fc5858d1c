"""How far one set of pictures is from another: Fréchet distance, precision and recall.

Both work on features, one row a picture, of any network. Everything is computed in float64 on the
CPU but for the distances between rows, which stay on the rows' device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

NEAREST = 3
"""Neighbours of precision and recall (k)."""
_BLOCK = 2048


@dataclass(frozen=True)
class Moments:
    """Of a set of features.

    Attributes:
        count: rows.
        mean: [D] float64; covariance: [D, D] float64, unbiased.
    """

    count: int
    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """Moments of features [N, D], N at least 2."""
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"features must be [N, D] with N of 2 or more, got "
                             f"{tuple(features.shape)}")
        rows = features.detach().to("cpu", torch.float64)
        if not bool(rows.isfinite().all()):
            raise ValueError("features hold values that are not finite")
        mean = rows.mean(0)
        centred = rows - mean
        return cls(len(rows), mean, centred.T @ centred / (len(rows) - 1))


def frechet_distance(a: Moments | Tensor, b: Moments | Tensor) -> float:
    """Squared Fréchet (Wasserstein-2) distance of the normal distributions with these moments.

    ``|mean a - mean b|^2 + tr(A + B - 2 (A B)^(1/2))``, as the FID of Heusel et al. (2017) has it
    for Inception's features. The root's trace is the sum of the roots of the eigenvalues of
    ``A^(1/2) B A^(1/2)``, which is symmetric, so no complex numbers come up where covariances are
    singular. With N rows of D features the distance of two samples of one distribution is about
    D^2 / N times a constant and not 0: compare with the distance of two halves.

    Args:
        a, b: moments, or features [N, D] whose moments are taken.
    """
    first = Moments.of(a) if isinstance(a, Tensor) else a
    second = Moments.of(b) if isinstance(b, Tensor) else b
    if first.mean.shape != second.mean.shape:
        raise ValueError(f"features differ in number: {len(first.mean)} and {len(second.mean)}")
    root = _root(first.covariance)
    inner = root @ second.covariance @ root
    shared = torch.linalg.eigvalsh((inner + inner.T) / 2).clamp_min(0).sqrt().sum()
    gap = (first.mean - second.mean).square().sum()
    total = gap + first.covariance.trace() + second.covariance.trace() - 2 * shared
    return max(0.0, float(total))


def _root(matrix: Tensor) -> Tensor:
    """Symmetric square root of a symmetric matrix whose eigenvalues are not below 0."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def frechet_interval(
    real: Tensor, drawn: Tensor, draws: int = 200, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of the Fréchet distance over the choice of the drawn pictures.

    A delete-half jackknife: each time a random half of ``drawn`` [N, D] is compared with ``real``
    [M, D], and the spread of those distances around their mean, which is that of the whole set for
    halves, is laid around the distance of the whole. (Drawing rows twice, as a bootstrap does,
    would make covariances too narrow and the distance too large.)
    """
    whole, moments = frechet_distance(real, drawn), Moments.of(real)
    generator = torch.Generator().manual_seed(seed)
    rows = drawn.detach().cpu()
    half = max(2, len(rows) // 2)
    found = torch.tensor([
        frechet_distance(moments, rows[torch.randperm(len(rows), generator=generator)[:half]])
        for _ in range(draws)
    ], dtype=torch.float64)
    low, high = (found - found.mean()).quantile(torch.tensor([0.025, 0.975], dtype=found.dtype))
    return max(0.0, whole + float(low)), whole + float(high)


@dataclass(frozen=True)
class Overlap:
    """Precision and recall of Kynkäänniemi et al. (2019).

    Attributes:
        precision: share of the drawn pictures that lie among the real ones.
        recall: share of the real pictures that lie among the drawn ones.
    """

    precision: float
    recall: float


def precision_recall(real: Tensor, drawn: Tensor, nearest: int = NEAREST) -> Overlap:
    """How far two sets of features [N, D] and [M, D] cover each other.

    Around every row of a set lies a ball that reaches to its k-th nearest neighbour in the set; a
    row of the other set lies among them if any ball holds it. Figures depend on N and M: compare
    sets of equal size.

    Args:
        nearest: k; each set needs more rows than that.
    """
    if real.ndim != 2 or drawn.ndim != 2 or real.shape[1] != drawn.shape[1]:
        raise ValueError(f"features must be [N, D] and [M, D], got {tuple(real.shape)} and "
                         f"{tuple(drawn.shape)}")
    if not 1 <= nearest < min(len(real), len(drawn)):
        raise ValueError(f"sets of {len(real)} and {len(drawn)} have no {nearest} neighbours each")
    real, drawn = real.float(), drawn.to(real.device).float()
    return Overlap(_share_inside(drawn, real, nearest), _share_inside(real, drawn, nearest))


def _share_inside(asked: Tensor, among: Tensor, nearest: int) -> float:
    reach = torch.cat([
        # The nearest of all is the row itself, at distance 0.
        _distances(block, among).kthvalue(nearest + 1, dim=1).values
        for block in among.split(_BLOCK)
    ])
    inside = [(_distances(block, among) <= reach).any(1) for block in asked.split(_BLOCK)]
    return torch.cat(inside).double().mean().item()


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # Not through a matrix product: equal rows must have distance 0.
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


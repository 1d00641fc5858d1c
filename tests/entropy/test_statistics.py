"""Statistics against numbers worked out by hand, and against plain float64 loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toprovar.entropy.statistics import (
    classify,
    correlation,
    keep_probability,
    layer_score,
    low_entropy_ratio,
    normalised_entropy,
    order_stability,
    principal_ratio,
    quantile_skew,
    relative_spread,
    rho_informative,
    start_scale,
)


def grid(*rows: list[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32)


def random_maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return 5 + torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_low_entropy_ratio_by_hand() -> None:
    # mean 3.25: 1 and 2 lie below
    assert float(low_entropy_ratio(grid([1, 2], [4, 6]))) == 0.5
    # one low value pulls the mean down: 1 of 4
    assert float(low_entropy_ratio(grid([0, 4], [4, 4]))) == 0.25
    assert float(low_entropy_ratio(grid([4, 0], [0, 0]))) == 0.75


def test_low_entropy_ratio_keeps_leading_dimensions() -> None:
    maps = random_maps(3, 2, 6, 5)
    found = low_entropy_ratio(maps)
    assert found.shape == (3, 2) and found.dtype == torch.float64
    for i in range(3):
        for j in range(2):
            values = maps[i, j].double().flatten().tolist()
            mean = sum(values) / 30
            assert float(found[i, j]) == sum(v < mean for v in values) / 30


@pytest.mark.parametrize("entropy", [
    torch.full((1, 1), 3.0), torch.full((4, 5), 0.1), torch.zeros(3, 3),
    7.3 + 1e-7 * torch.rand(4, 4),
])
def test_nothing_to_compare(entropy: torch.Tensor) -> None:
    """A constant has no token below its mean, whatever rounding does to the mean."""
    assert math.isnan(float(low_entropy_ratio(entropy)))
    assert math.isnan(float(quantile_skew(entropy)))
    assert float(relative_spread(entropy)) == 0
    assert float(principal_ratio(entropy)) == math.inf


def test_start_scale() -> None:
    rhos = [math.nan, 0.5, 0.45, 0.38, 0.41]
    assert start_scale(rhos, 0.4, "falling") == 3
    assert start_scale(rhos, 0.4, "rising") == 1
    assert start_scale(rhos, 0.4, "rising", first=4) == 4
    assert start_scale(rhos, 0.4, "falling", first=4) is None
    assert start_scale(rhos, 0.2, "falling") is None
    assert start_scale([], 0.4, "rising") is None
    assert start_scale([0.4], 0.4, "rising") == start_scale([0.4], 0.4, "falling") == 0
    with pytest.raises(ValueError, match="rising"):
        start_scale(rhos, 0.4, "sideways")  # type: ignore[arg-type]  # wrong


def test_principal_ratio_by_hand() -> None:
    assert float(principal_ratio(grid([3, 0], [0, 2]))) == pytest.approx(1.5)
    # [[1, 1], [1, 0]] has eigenvalues (1 +- sqrt 5) / 2
    golden = (1 + 5**0.5) / (5**0.5 - 1)
    assert float(principal_ratio(grid([1, 1], [1, 0]))) == pytest.approx(golden)


def test_principal_ratio_against_eigenvalues() -> None:
    maps = random_maps(4, 6, 9)
    expected = []
    for one in maps.double().numpy():
        squares = np.sort(np.linalg.eigvalsh(one @ one.T))[::-1]
        expected.append(math.sqrt(squares[0] / squares[1]))
    np.testing.assert_allclose(principal_ratio(maps).numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("entropy", [
    torch.rand(1, 1), torch.rand(1, 7), torch.rand(7, 1), torch.ones(4, 4), torch.zeros(4, 4),
    torch.outer(torch.rand(5), torch.rand(6)),
])
def test_rank_one_maps_have_no_second_part(entropy: torch.Tensor) -> None:
    assert float(principal_ratio(entropy)) == math.inf


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 10**6), st.sampled_from([0, 1e-6, 1]))
def test_ratios_are_never_nan_and_at_least_one(h: int, w: int, seed: int, noise: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    ratio = float(principal_ratio(3 + noise * torch.randn(h, w, generator=generator)))
    assert ratio >= 1 and not math.isnan(ratio)


def test_layer_score() -> None:
    ratios = torch.tensor([1.0, 2.0, 11.0, math.inf])
    raw = layer_score(ratios, 0.1)
    np.testing.assert_allclose(raw.numpy(), [1, math.exp(-0.1), math.exp(-1), 0])
    log = layer_score(ratios, 2, "log", reference=2.0)
    # below the reference there is no more than 1
    np.testing.assert_allclose(log.numpy(), [1, 1, (11 / 2) ** -2, 0])
    assert layer_score(math.inf, 0).item() == 1
    for beta, reference in ((-1, 1), (math.nan, 1), (math.inf, 1), (1, 0)):
        with pytest.raises(ValueError, match=r"beta|reference"):
            layer_score(2.0, beta, "log", reference)


def test_classify() -> None:
    assert classify([0.1, 0.2, 0.5, 0.8, 1.0, math.nan], 0.2, 0.8) == (
        "global", "global", "ambiguous", "detail", "detail", "ambiguous"
    )
    with pytest.raises(ValueError, match="low must be below high"):
        classify([0.1], 0.5, 0.5)


def test_normalised_entropy() -> None:
    entropy = grid([1, 2], [3, 6])
    np.testing.assert_allclose(normalised_entropy(entropy), [[1 / 3, 2 / 3], [1, 2]])
    np.testing.assert_allclose(normalised_entropy(entropy, "sum"),
                               [[1 / 12, 2 / 12], [3 / 12, 6 / 12]])
    np.testing.assert_allclose(normalised_entropy(entropy, "rank"), [[0.25, 0.75], [1.25, 1.75]])
    # ties share a rank
    np.testing.assert_allclose(normalised_entropy(grid([2, 2], [1, 5]), "rank"),
                               [[1, 1], [0.25, 1.75]])
    assert torch.equal(normalised_entropy(torch.zeros(2, 3, 3)), torch.ones(2, 3, 3).double())
    with pytest.raises(ValueError, match="normalization"):
        normalised_entropy(entropy, "max")  # type: ignore[arg-type]  # wrong


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 10**6))
def test_normalisations_average_to_one(h: int, w: int, seed: int) -> None:
    entropy = torch.rand(2, h, w, generator=torch.Generator().manual_seed(seed)).round(decimals=1)
    for kind in ("mean", "rank"):
        assert normalised_entropy(entropy, kind).mean((1, 2)).tolist() == pytest.approx([1, 1])
    assert normalised_entropy(entropy, "sum").sum((1, 2)).tolist() == pytest.approx([1, 1])


def test_keep_probability() -> None:
    unit = normalised_entropy(grid([0.5, 1.5], [1, 1]))
    keep = keep_probability(unit, 0.5, 0.8, 0.1, 0.9)
    np.testing.assert_allclose(
        keep, [[1 - (0.1 + 0.8 * 0.2), 1 - (0.1 + 0.8 * 0.6)], [1 - (0.1 + 0.8 * 0.4)] * 2]
    )
    # a Global layer drops alpha_min and no more, however diffuse the token
    assert torch.equal(keep_probability(unit, 1.0, 0.0, 0.0, 0.9), torch.ones(2, 2).double())
    # clipped, and one score a layer
    layers = keep_probability(torch.stack([unit, 9 * unit]), 1.0, torch.tensor([0.0, 1.0]), 0.2, 1)
    assert layers[0].unique().tolist() == pytest.approx([0.8]) and layers[1].min() == 0


def test_the_literal_normalisation_does_not_rank() -> None:
    """Why the mean is the default: with a sum of 1 every token has nearly the same probability."""
    entropy = random_maps(32, 32).clamp(min=0)
    literal = keep_probability(normalised_entropy(entropy, "sum"), 1, 1, 0.1, 0.9)
    ours = keep_probability(normalised_entropy(entropy), 1, 1, 0.1, 0.9)
    assert literal.std() < 1e-3 < 0.1 < ours.std()


def test_spread_and_skew() -> None:
    assert float(relative_spread(grid([1, 3], [1, 3]))) == pytest.approx(0.5)
    values = torch.arange(101.0).reshape(1, 101)
    assert float(quantile_skew(values)) == pytest.approx(0)
    tail = torch.cat([torch.tensor([0.0] * 15), torch.linspace(9, 10, 85)]).reshape(10, 10)
    assert float(quantile_skew(tail)) < -0.8 and float(low_entropy_ratio(tail)) < 0.2
    assert float(quantile_skew(10 - tail)) > 0.8


def test_correlation() -> None:
    a = random_maps(2, 4, 4)
    assert correlation(a, 3 * a - 2).tolist() == pytest.approx([1, 1])
    assert correlation(a, -a).tolist() == pytest.approx([-1, -1])
    b = random_maps(2, 4, 4, seed=1)
    expected = [np.corrcoef(x.flatten(), y.flatten())[0, 1]
                for x, y in zip(a.double().numpy(), b.double().numpy(), strict=True)]
    np.testing.assert_allclose(correlation(a, b), expected)
    assert correlation(a, torch.ones(2, 4, 4)).isnan().all()


def test_order_stability() -> None:
    same = torch.tensor([[1.0, 2, 3, 4], [10, 20, 30, 40]])
    assert order_stability(same) == pytest.approx(1)
    assert order_stability(torch.stack([same[0], -same[0]])) == pytest.approx(-1)
    # Spearman of 1 2 3 4 and 1 2 4 3 is 1 - 6 * 2 / (4 * 15)
    assert order_stability(torch.tensor([[1.0, 2, 3, 4], [1, 2, 4, 3]])) == pytest.approx(0.8)
    # ties take their middle rank: ranks 0.5 0.5 2 3 against 0 1 2 3
    x, y = np.array([0.5, 0.5, 2, 3]), np.arange(4)
    assert order_stability(torch.tensor([[1.0, 1, 5, 9], [1, 2, 3, 4]])) == pytest.approx(
        np.corrcoef(x, y)[0, 1]
    )
    assert math.isnan(order_stability(torch.rand(1, 4)))


def test_rho_is_told_informative_or_not() -> None:
    noise = 0.01 * torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    moving = torch.linspace(0.55, 0.2, 5).expand(20, 5)
    assert rho_informative(moving + noise).informative
    near = rho_informative(0.47 + noise)
    assert not near.informative and "0.5" in near.reason
    scattered = rho_informative(0.25 + 0.02 * moving + 10 * noise)
    assert not scattered.informative and "scatter" in scattered.reason
    assert not rho_informative(moving[:1]).informative
    holes = moving.clone()
    holes[:, 0] = math.nan
    assert rho_informative(holes + noise).informative


def test_bad_maps() -> None:
    with pytest.raises(ValueError, match=r"\[..., h, w\]"):
        low_entropy_ratio(torch.rand(5))
    with pytest.raises(ValueError, match="not finite"):
        principal_ratio(torch.tensor([[1.0, math.nan]]))

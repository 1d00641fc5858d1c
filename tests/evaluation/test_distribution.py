"""Fréchet distance against closed forms, precision and recall against brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from toprovar.evaluation.distribution import (
    Moments,
    frechet_distance,
    frechet_interval,
    precision_recall,
)


def _normal(count: int, size: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, size, generator=generator, dtype=torch.float64) + shift


def test_distance_of_normals_with_diagonal_covariances_is_the_closed_form() -> None:
    a = Moments(10, torch.tensor([0.0, 1.0, 2.0]).double(), torch.tensor([1.0, 4.0, 9.0]).diag()
                .double())
    b = Moments(10, torch.tensor([1.0, 1.0, 0.0]).double(), torch.tensor([4.0, 4.0, 0.0]).diag()
                .double())
    wanted = (1 + 0 + 4) + (1 - 2) ** 2 + 0 + 3**2
    assert frechet_distance(a, b) == pytest.approx(wanted, abs=1e-9)
    assert frechet_distance(b, a) == pytest.approx(wanted, abs=1e-9)


def test_distance_agrees_with_the_root_of_a_product() -> None:
    linalg = pytest.importorskip("scipy.linalg")
    mixing = _normal(5, 5, 1)
    a, b = _normal(300, 5, 2) @ mixing, _normal(300, 5, 3, 0.5)
    root = linalg.sqrtm(np.cov(a.numpy().T) @ np.cov(b.numpy().T)).real
    gap = a.mean(0) - b.mean(0)
    wanted = float(gap @ gap) + np.trace(np.cov(a.numpy().T) + np.cov(b.numpy().T) - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-8)


def test_equal_sets_are_at_distance_zero_even_with_more_features_than_rows() -> None:
    few = _normal(6, 20, 4)
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-6)


def test_the_distance_of_two_samples_falls_with_their_number() -> None:
    found = [frechet_distance(_normal(n, 16, 5), _normal(n, 16, 6)) for n in (50, 200, 800)]
    assert found[0] > 2 * found[1] > 4 * found[2]


def test_an_interval_holds_the_distance_and_narrows() -> None:
    real = _normal(400, 8, 7)
    widths = []
    for count in (60, 400):
        drawn = _normal(count, 8, 8, 0.4)
        low, high = frechet_interval(real, drawn, 60)
        assert low <= frechet_distance(real, drawn) <= high
        widths.append(high - low)
    assert widths[1] < widths[0]


def test_bad_features_are_named() -> None:
    with pytest.raises(ValueError, match=r"N of 2 or more, got \(1, 3\)"):
        Moments.of(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="not finite"):
        Moments.of(torch.full((3, 2), float("nan")))
    with pytest.raises(ValueError, match="differ in number: 2 and 3"):
        frechet_distance(_normal(5, 2, 1), _normal(5, 3, 1))
    with pytest.raises(ValueError, match="have no 3 neighbours each"):
        precision_recall(_normal(3, 2, 1), _normal(9, 2, 1))


def _brute(asked: np.ndarray, among: np.ndarray, nearest: int) -> float:
    inside = 0
    for row in asked:
        held = False
        for i, other in enumerate(among):
            reach = sorted(np.linalg.norm(among[j] - other) for j in range(len(among)) if j != i)
            held |= np.linalg.norm(row - other) <= reach[nearest - 1]
        inside += held
    return inside / len(asked)


def test_precision_and_recall_agree_with_brute_force() -> None:
    real, drawn = _normal(40, 3, 9).numpy(), _normal(30, 3, 10, 0.8).numpy()
    found = precision_recall(torch.from_numpy(real), torch.from_numpy(drawn), 2)
    assert found.precision == pytest.approx(_brute(drawn, real, 2))
    assert found.recall == pytest.approx(_brute(real, drawn, 2))
    assert 0 < found.precision < 1


def test_a_generator_that_repeats_one_picture_has_precision_without_recall() -> None:
    real = _normal(200, 4, 11)
    same = precision_recall(real, real)
    assert (same.precision, same.recall) == (1, 1)
    narrow = precision_recall(real, real[:1] + 0.01 * _normal(200, 4, 12))
    assert narrow.precision > 0.9 and narrow.recall < 0.1
    apart = precision_recall(real, real + 100)
    assert (apart.precision, apart.recall) == (0, 0)

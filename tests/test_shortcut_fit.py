"""Fitting shortcuts: the sums against plain least squares, the runs, and what is kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from benchmarks.random_shortcuts import random_shortcuts
from tests.sampling.test_sparse import SCHEDULE
from tests.sparsity.test_toprovar import SHAPE, calibration
from tests.tiny import tiny_pipeline
from toprovar.analysis import fit_shortcuts, shortcut_fit, shortcut_use, with_used
from toprovar.analysis.choices import State, cost_of
from toprovar.analysis.shortcut_sums import RIDGE, Moments, Spread
from toprovar.models.config import TransformerConfig
from toprovar.models.fingerprint import model_fingerprint
from toprovar.schedules import get_schedule
from toprovar.sparsity.linear_shortcut import LinearShortcut
from toprovar.sparsity.shortcut_inputs import Sizes

JOBS = [(f"a thing {n}", n) for n in range(16)]


def tokens(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs of very different sizes far from 0, and outcomes of rank 3 and a bit."""
    generator = torch.Generator().manual_seed(n)
    z = torch.randn(n, 9, generator=generator) * torch.logspace(-2, 2, 9) + 30
    mixing = torch.Generator().manual_seed(7)
    weight = torch.randn(9, 3, generator=mixing) @ torch.randn(3, 6, generator=mixing)
    y = (z - 30) / torch.logspace(-2, 2, 9) @ weight + 5
    return z, y + 0.1 * torch.randn(n, 6, generator=generator)


def test_sums_of_parts_give_the_least_squares_of_all() -> None:
    z, y = tokens(600)
    sums = Moments()
    for part in zip(z.split(150), y.split(150), strict=True):
        sums.add(*(x.unflatten(0, (3, 50)) for x in part))
    found = sums.solve(6)
    centred, outcome = z.double() - z.double().mean(0), y.double() - y.double().mean(0)
    ridge = RIDGE * centred.square().sum(0)
    weight = torch.linalg.solve(centred.T @ centred + ridge.diag(), centred.T @ outcome)
    expected = centred @ weight + y.double().mean(0)
    predicted = z.double() @ (found.up.double() @ found.down.double()).T + found.bias
    torch.testing.assert_close(predicted, expected, atol=2e-3, rtol=1e-4)
    missed = (expected - y).square().sum() / y.double().square().sum()
    assert sums.explained(found) == pytest.approx(1 - float(missed), abs=1e-5)


def test_a_map_of_low_rank_is_the_best_of_its_rank() -> None:
    """Of the predictions of all ranks: their singular values beyond are what it misses."""
    z, y = tokens(600)
    sums = Moments()
    sums.add(z, y)
    whole, low = sums.solve(6), sums.solve(2)
    assert low.down.shape == (2, 9) and low.up.shape == (6, 2)
    full, less = (z.double() @ (m.up.double() @ m.down.double()).T + m.bias for m in (whole, low))
    values = torch.linalg.svdvals(full - full.mean(0))
    assert float((full - less).square().sum()) == pytest.approx(
        float(values[2:].square().sum()), rel=1e-3)
    torch.testing.assert_close(less.mean(0), y.double().mean(0), atol=1e-3, rtol=1e-4)
    assert sums.explained(low) < sums.explained(whole)


def test_directions_are_principal_ones() -> None:
    x = torch.randn(400, 5) * torch.tensor([1.0, 9.0, 2.0, 5.0, 3.0]) + 50
    spread = Spread()
    spread.add(x[:100])
    spread.add(x[100:].unflatten(0, (3, 100)))
    found = spread.directions(2)
    expected = torch.linalg.svd(x.double() - x.double().mean(0))[2][:2].T
    assert torch.allclose((found.double().T @ expected).abs(), torch.eye(2, dtype=torch.float64),
                          atol=1e-5)


@pytest.mark.parametrize("empty", [Moments().solve, Spread().directions])
def test_nothing_can_be_fitted_to_nothing(empty: Callable[[int], object]) -> None:
    with pytest.raises(ValueError, match="no tokens"):
        empty(1)


SHAPE_10 = TransformerConfig(depth=10, width=320, num_heads=5, bits_per_token=16)


def test_the_runs_that_shortcuts_are_fitted_to() -> None:
    large = get_schedule("1.0", "0.25M")
    ways = {(way.schedule.pn, way.skipped): {shortcut[:2] for shortcut in way.linear_shortcuts}
            for way in shortcut_fit.routes(SHAPE_10, [SCHEDULE, large], most_bytes=1 << 40)}
    assert ways == {
        ("0.06M", ()): {(3, 4), (4, 5), (5, 6)}, ("0.06M", (4,)): {(3, 5)},
        ("0.06M", (5,)): {(4, 6)},
        ("0.25M", ()): {(s - 1, s) for s in range(4, 10)},
        **{("0.25M", (s,)): {(s - 1, s + 1)} for s in range(5, 9)},
    }
    lengths = {one.length for way in shortcut_fit.routes(SHAPE_10, [SCHEDULE])
               for one in way.linear_shortcuts}
    assert lengths == {5, 6, 7, 8}
    assert shortcut_fit.routes(replace(SHAPE_10, depth=1), [SCHEDULE]) == []


def test_in_little_memory_the_largest_scales_come_first() -> None:
    sizes = Sizes.of(SHAPE_10)
    room = 6 * Moments.nbytes(sizes.inputs, sizes.width)
    ways = shortcut_fit.routes(SHAPE_10, [SCHEDULE], most_bytes=room)
    found = [one for way in ways for one in way.linear_shortcuts]
    assert len(found) == 6
    assert [one.length for one in found if one[:2] == (5, 6)] == [5, 6, 7, 8]
    assert [one.length for one in found if one[:2] == (4, 6)] == [5, 6]


def test_a_route_runs_no_scale_that_nothing_is_fitted_to() -> None:
    for way in shortcut_fit.routes(SHAPE_10, [SCHEDULE]):
        last = max(one.scale for one in way.linear_shortcuts)
        plan = way.plan(SHAPE_10)
        assert [s.run for s in plan.scales] == [s not in way.skipped and s <= last
                                                for s in range(7)]


def test_a_fit_predicts_what_the_layers_do() -> None:
    pipeline = tiny_pipeline()
    told: list[int] = []
    found = fit_shortcuts(pipeline, JOBS, [SCHEDULE], on_picture=told.append)
    assert found is not None and found.model == model_fingerprint(pipeline.transformer)
    assert told == list(range(16)) and found.about["pictures"] == 16
    assert {shortcut[:2] for shortcut in found.maps} == {(3, 4), (4, 5), (5, 6), (3, 5), (4, 6)}
    assert found.lengths == (2,)
    explained = found.about["explained"]
    assert set(explained) == {str(shortcut) for shortcut in found.maps}
    assert min(explained.values()) > 0.3, explained
    again = fit_shortcuts(pipeline, JOBS, [SCHEDULE])
    assert again is not None and again.identity == found.identity


def test_a_fit_may_end_at_any_time() -> None:
    pipeline = tiny_pipeline()
    told: list[int] = []
    found = fit_shortcuts(pipeline, JOBS, [SCHEDULE], deadline=time.monotonic() - 1,
                          on_picture=told.append)
    assert found is not None and told == [0] and found.about["pictures"] == 1
    more = fit_shortcuts(pipeline, JOBS, [SCHEDULE])
    assert more is not None and min(more.about["explained"].values()) > 0


def test_without_pictures_to_spare_nothing_is_held_out() -> None:
    small = fit_shortcuts(tiny_pipeline(), JOBS[:1], [SCHEDULE])
    assert small is not None and small.about["explained"] == {}
    assert fit_shortcuts(tiny_pipeline(), JOBS[:1], [SCHEDULE], fewest_tokens=1000) is None
    assert fit_shortcuts(tiny_pipeline(), [], [SCHEDULE]) is None


def test_shortcuts_that_hardly_help_are_not_kept() -> None:
    """Choices on a line from the dense run down, and one shortcut that adds little to it."""
    def choice(likeness: float, guided: int = 7, skipped: tuple[int, ...] = (),
               shortcuts: tuple[tuple[int, int], ...] = ()) -> dict[str, object]:
        return {"guided": guided, "skipped": skipped, "shortcuts": shortcuts, "likeness": likeness,
                "ssim": likeness}

    useful, useless = LinearShortcut(5, 6, 2), LinearShortcut(5, 6, 1)
    own = calibration(dropped="exit", shortcuts="0", choices=[
        choice(1.0), choice(0.95, shortcuts=((6, 1),)), choice(0.949, shortcuts=((6, 2),)),
        choice(0.80, skipped=(6,)), choice(0.79, shortcuts=((5, 1), (6, 2))),
    ])
    maps = random_shortcuts(own.model, SHAPE, [useful, useless, LinearShortcut(4, 5, 1)])
    found, kept = with_used(SHAPE, own, maps)
    assert kept is not None and set(kept.maps) == {useful}
    assert found.shortcuts == kept.identity
    assert [c.likeness for c in found.main.choices] == [1.0, 0.949, 0.80]
    # No cost is worse off by more than allowed.
    every = [(cost_of(SHAPE, SCHEDULE, State.of(c)), c.likeness) for c in own.main.choices]
    left = [(cost_of(SHAPE, SCHEDULE, State.of(c)), c.likeness) for c in found.main.choices]
    for cost, _ in every:
        best, now = (max((q for c, q in x if c <= cost), default=0.0) for x in (every, left))
        assert best - now <= shortcut_use.MOST_LOST
    assert with_used(SHAPE, own, None)[1] is None
    bare = calibration(dropped="exit", choices=[choice(1.0), choice(0.8, skipped=(6,))])
    found, kept = with_used(SHAPE, bare, maps)
    assert kept is None and found.shortcuts is None and len(found.main.choices) == 2

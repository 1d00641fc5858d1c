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
from toprovar.analysis import (
    fit_shortcuts,
    shortcut_fit,
    shortcut_sums,
    shortcut_use,
    with_used,
)
from toprovar.analysis.choices import State, cost_of
from toprovar.analysis.shortcut_sums import RIDGE, Moments, Spread
from toprovar.models.config import TransformerConfig
from toprovar.models.fingerprint import model_fingerprint
from toprovar.schedules import ScaleSchedule, get_schedule
from toprovar.sparsity import shortcut_inputs
from toprovar.sparsity.linear_shortcut import LinearShortcut
from toprovar.sparsity.shortcut_inputs import Sizes
from toprovar.sparsity.shortcut_maps import QuantizedMap

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


def test_sums_of_float32_are_enough() -> None:
    """Inputs that are nearly dependent, of very different sizes, far from 0 and with means of their
    own in each of many parts: against all of it in float64."""
    generator = torch.Generator().manual_seed(1)
    mixing = torch.randn(20, 120, generator=generator)
    weight = torch.randn(120, 16, generator=generator) / 11

    def drawn(parts: int) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = torch.randn(parts, 40, 20, generator=generator)
        hidden = (hidden + 3 * torch.randn(parts, 1, 20, generator=generator)).flatten(0, 1)
        z = hidden @ mixing + 1e-3 * torch.randn(len(hidden), 120, generator=generator) + 300
        y = (z - 300) @ weight + 200 + 0.3 * torch.randn(len(hidden), 16, generator=generator)
        return z * torch.logspace(-3, 3, 120), y

    (z, y), (other_z, other_y) = drawn(500), drawn(50)
    sums = Moments()
    for part in zip(z.split(40), y.split(40), strict=True):
        sums.add(*part)
    assert sums.nbytes(120, 16) == sum(x.nbytes for x in sums._sums())
    torch.testing.assert_close(sums.input_scale, z.double().std(0, correction=0).float(),
                               rtol=1e-4, atol=0)
    torch.testing.assert_close(sums.input_mean, z.double().mean(0).float())
    centred, outcome = z.double() - z.double().mean(0), y.double() - y.double().mean(0)
    ridge = RIDGE * centred.square().sum(0)
    exact = torch.linalg.solve(centred.T @ centred + ridge.diag(), centred.T @ outcome)
    up = torch.linalg.svd(centred @ exact, full_matrices=False)[2][:8].T
    predicted = (other_z.double() - z.double().mean(0)) @ exact @ up @ up.T + y.double().mean(0)
    missed = other_y.double() - predicted
    share = 1 - float(missed.square().sum() / other_y.double().square().sum())
    found = sums.solve(8)
    assert Moments.explained_of(other_z, other_y, found) == pytest.approx(share, abs=1e-6)
    left = other_y.double() - other_z.double() @ (found.up.double() @ found.down.double()).T
    assert float((left - found.bias).square().sum() / missed.square().sum()) == pytest.approx(
        1, abs=1e-3)
    # What lies between the factors varies by 1.
    between = z.double() @ found.down.double().T
    torch.testing.assert_close(between.var(0, correction=0), torch.ones(8).double(), atol=0.02,
                               rtol=0)


def test_many_outcomes_are_solved_for_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    z, y = tokens(600)
    sums = Moments()
    sums.add(z, y)
    exact = sums.solve(2)
    monkeypatch.setattr(shortcut_sums, "EXACT_MOST", 5)
    found = sums.solve(2)
    torch.testing.assert_close(found.up @ found.down, exact.up @ exact.down, atol=1e-4, rtol=1e-4)
    assert Moments.explained_of(z, y, found) == pytest.approx(sums.explained(found), abs=1e-5)


def test_nothing_to_predict_is_predicted_as_nothing() -> None:
    sums = Moments()
    sums.add(torch.randn(50, 4), torch.zeros(50, 3))
    found = sums.solve(2)
    assert not found.down.any() and not found.bias.any() and bool(found.up.isfinite().all())
    assert sums.explained(found) == Moments.explained_of(torch.ones(1, 4), torch.zeros(1, 3),
                                                         found) == 0


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


def whole(shape: TransformerConfig, *schedules: ScaleSchedule) -> list[shortcut_fit.Route]:
    """All routes at once."""
    part, = shortcut_fit.portions(shape, schedules, most_bytes=1 << 40)
    return part


def test_the_runs_that_shortcuts_are_fitted_to() -> None:
    large = get_schedule("1.0", "0.25M")
    ways = {(way.schedule.pn, way.skipped): {shortcut[:2] for shortcut in way.linear_shortcuts}
            for way in whole(SHAPE_10, SCHEDULE, large)}
    assert ways == {
        ("0.06M", ()): {(3, 4), (4, 5), (5, 6)}, ("0.06M", (4,)): {(3, 5)},
        ("0.06M", (5,)): {(4, 6)},
        ("0.25M", ()): {(s - 1, s) for s in range(4, 10)},
        **{("0.25M", (s,)): {(s - 1, s + 1)} for s in range(5, 9)},
    }
    lengths = {one.length for way in whole(SHAPE_10, SCHEDULE) for one in way.linear_shortcuts}
    assert lengths == {5, 6, 7, 8}
    assert shortcut_fit.portions(replace(SHAPE_10, depth=1), [SCHEDULE]) == []


def test_in_little_memory_what_saves_most_comes_first() -> None:
    sizes = Sizes.of(SHAPE_10)
    room = 6 * Moments.nbytes(sizes.inputs, sizes.width)
    parts = shortcut_fit.portions(SHAPE_10, [SCHEDULE], most_bytes=room)
    assert len(shortcut_fit.portions(SHAPE_10, [SCHEDULE], most_bytes=room // 6)) \
        == shortcut_fit.MOST_PORTIONS
    found = [[one for way in part for one in way.linear_shortcuts] for part in parts]
    assert [len(part) for part in found] == [6, 6, 6, 2]
    assert [one.length for one in found[0] if one[:2] == (5, 6)] == [5, 6, 7, 8]
    assert [one.length for one in found[0] if one[:2] == (4, 6)] == [5, 6]
    assert {one.scale for one in found[0]} == {6} and {one.scale for one in found[2]} == {4, 5}
    every = [one for part in found for one in part]
    assert len(set(every)) == len(every)


def test_portions_are_fitted_as_they_would_be_together() -> None:
    pipeline = tiny_pipeline()
    sizes = Sizes.of(pipeline.transformer.shape)
    whole_fit = fit_shortcuts(pipeline, JOBS, [SCHEDULE])
    parts = fit_shortcuts(pipeline, JOBS, [SCHEDULE],
                          most_bytes=2 * Moments.nbytes(sizes.inputs, sizes.width))
    assert whole_fit is not None and parts is not None
    assert parts.identity == whole_fit.identity and parts.about == whole_fit.about


def test_a_route_runs_no_scale_that_nothing_is_fitted_to() -> None:
    for way in whole(SHAPE_10, SCHEDULE):
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
    assert all(isinstance(one, QuantizedMap) for one in found.maps.values())
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


def test_a_fit_to_a_residual_that_is_seen_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of wide models: at the token itself the first directions only."""
    whole = fit_shortcuts(tiny_pipeline(), JOBS, [SCHEDULE])
    monkeypatch.setattr(shortcut_inputs, "OWN_MOST", 24)
    found = fit_shortcuts(tiny_pipeline(), JOBS, [SCHEDULE])
    assert found is not None and whole is not None
    assert [x.shape[1] for x in found.directions.values()] == [8, 24]
    assert [x.shape[1] for x in whole.directions.values()] == [8, 6]
    assert found.nbytes < whole.nbytes + 2 * 32 * (24 - 6)
    told, before = found.about["explained"], whole.about["explained"]
    assert all(0.25 < told[name] < before[name] + 0.05 for name in before), (told, before)


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


def test_shortcuts_are_left_out_until_they_are_small_enough() -> None:
    """Three lengths, each worth more than may be lost: the least first."""
    def choice(likeness: float, *shortcuts: tuple[int, int]) -> dict[str, object]:
        return {"guided": 7, "skipped": (), "shortcuts": shortcuts, "likeness": likeness,
                "ssim": likeness}

    own = calibration(dropped="exit", shortcuts="0", choices=[
        choice(1.0), choice(0.97, (6, 1)), choice(0.90, (6, 2)), choice(0.88, (5, 2), (6, 2))])
    first, second, third = (LinearShortcut(5, 6, 1), LinearShortcut(5, 6, 2),
                            LinearShortcut(4, 5, 2))
    maps = random_shortcuts(own.model, SHAPE, [first, second, third], eight_bits=True)
    assert maps.nbytes == maps.bytes_of(maps.maps) == sum(
        x.nbytes for part in (maps.directions.values(), *maps.maps.values()) for x in part)

    def kept(most: int | None) -> set[LinearShortcut]:
        found, left = with_used(SHAPE, own, maps, most)
        assert found.shortcuts == (left.identity if left else None)
        assert left is None or most is None or left.nbytes <= most
        used = {one for c in found.main.choices for one in State.of(c).linear_shortcuts}
        assert used == (set(left.maps) if left else set())
        assert found.main.choices[0].likeness == 1.0
        return used

    assert kept(None) == kept(maps.nbytes) == {first, second, third}
    two = kept(maps.nbytes - 1)
    assert len(two) == 2
    one = kept(maps.bytes_of(two) - 1)
    assert len(one) == 1 and one < two
    assert kept(maps.bytes_of(one) - 1) == kept(0) == set()


def test_held_out_tokens_choose_the_ridge() -> None:
    """Few tokens of many inputs ask for more of it than many do, and get maps that predict."""
    def fitted(count: int) -> list[float]:
        generator = torch.Generator().manual_seed(3)
        weight = torch.randn(60, 8, generator=generator) * 0.2

        def drawn(n: int) -> tuple[torch.Tensor, torch.Tensor]:
            z = torch.randn(n, 60, generator=generator)
            return z * torch.logspace(-1, 2, 60) + 5, z @ weight + torch.randn(
                n, 8, generator=generator)

        sums = Moments()
        sums.add(*drawn(count))
        z, y = drawn(500)
        ridge = sums.best_ridge(z, y)
        return [ridge, *(Moments.explained_of(z, y, sums.solve(8, r)) for r in (ridge, RIDGE))]

    few, chosen, small = fitted(50)
    many, _, _ = fitted(5000)
    assert few > many and chosen > small + 0.1

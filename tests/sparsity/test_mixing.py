"""The arithmetic of mixtures, their random numbers and ranks, against loops in float64."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from toprovar.sparsity.mixing import draw_places, mix, restore
from toprovar.sparsity.mixing_draws import SeededDraws
from toprovar.sparsity.strategies.fastervar.ranks import alphas, rank


def numbers(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def test_places_are_a_race_in_falling_order() -> None:
    x, exponential = numbers(2, 30, 5), numbers(2, 30, seed=1).square() + 0.01
    places = draw_places(x, exponential, 7)
    for row in range(2):
        shares = {i: sum(float(v) ** 2 for v in x[row, i]) / float(exponential[row, i])
                  for i in range(30)}
        assert places[row].tolist() == sorted(shares, key=lambda i: -shares[i])[:7]


def test_places_fall_by_squared_norm() -> None:
    """The first place drawn is token i with probability |x_i|^2 / sum, as multinomial's."""
    x = torch.tensor([1.0, 2.0, 3.0])[None, :, None].expand(20_000, 3, 1)
    exponential = torch.empty(20_000, 3).exponential_(generator=torch.Generator().manual_seed(3))
    first = draw_places(x, exponential, 2)[:, 0]
    found = first.bincount(minlength=3) / 20_000
    assert found.tolist() == pytest.approx([1 / 14, 4 / 14, 9 / 14], abs=0.015)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_mixtures(dtype: torch.dtype) -> None:
    x, normal = numbers(2, 40, 6).to(dtype), numbers(2, 40, 9, seed=1)
    mixed = mix(x, normal)
    assert mixed.dtype == dtype and mixed.is_contiguous()
    expected = torch.einsum("rnj,rnc->rjc", normal.double() / math.sqrt(9), x.double())
    limit = 1e-5 if dtype == torch.float32 else 2e-2 * float(expected.abs().max())
    assert float((mixed.double() - expected).abs().max()) < limit


def test_restoration() -> None:
    """Cells average what they cover of the old grid; places get their mixtures, whole."""
    grid, new = (4, 3), (5, 5)
    known, mixtures = numbers(2, 12, 3), numbers(2, 4, 3, seed=1)
    places = torch.tensor([[24, 3, 0, 11], [7, 6, 20, 1]])
    restored = restore(known, grid, new, places, mixtures)
    for row in range(2):
        for i in range(25):
            if i in places[row].tolist():
                expected = mixtures[row, places[row].tolist().index(i)].double()
            else:
                cells = [range(o * old // n, -(-(o + 1) * old // n))
                         for o, old, n in zip(divmod(i, 5), grid, new, strict=True)]
                covered = [known[row, y * 3 + z].double() for y in cells[0] for z in cells[1]]
                expected = torch.stack(covered).mean(0)
            assert torch.allclose(restored[row, i].double(), expected, atol=1e-6)


def test_restoration_leaves_what_is_known() -> None:
    known = numbers(1, 6, 2)
    before = known.clone()
    restored = restore(known, (2, 3), (2, 3), torch.tensor([[1]]), torch.zeros(1, 1, 2))
    assert torch.equal(known, before) and restored[0, 1].tolist() == [0, 0]


def test_draws_follow_from_the_seed_alone() -> None:
    """A picture drawn with others has the draws that it has alone, and takes none from the
    generator of its bits."""
    generators = [torch.Generator().manual_seed(s) for s in (5, 6)]
    before = generators[1].get_state()
    both = SeededDraws(generators, 2)
    alone = SeededDraws(generators[1], 1)
    exponential, normal = both(10, 3, range(4), 50, 8)
    assert exponential.shape == (4, 50) and normal.shape == (4, 50, 8)
    for own, shared in ((0, 1), (1, 3)):  # conditional, unconditional
        e, n = alone(10, 3, range(own, own + 1), 50, 8)
        assert torch.equal(e[0], exponential[shared]) and torch.equal(n[0], normal[shared])
    assert torch.equal(generators[1].get_state(), before)
    again = SeededDraws(generators, 2)(10, 3, range(4), 50, 8)
    assert torch.equal(again[0], exponential) and torch.equal(again[1], normal)


def test_no_two_draws_are_alike() -> None:
    one = SeededDraws(torch.Generator().manual_seed(1), 2)
    other = SeededDraws(torch.Generator().manual_seed(2), 2)
    found = [one(10, 0, range(4), 20, 4), one(10, 1, range(4), 20, 4), one(11, 0, range(4), 20, 4),
             other(10, 0, range(4), 20, 4)]
    for part in (0, 1):
        rows = torch.cat([draws[part].flatten(1) for draws in found])
        assert len(torch.unique(rows[:, 0])) == 16


def test_draws_are_of_their_kind() -> None:
    exponential, normal = SeededDraws(torch.Generator().manual_seed(7), 1)(
        10, 0, range(1), 1000, 100)
    assert float(exponential.mean()) == pytest.approx(1, abs=0.1) and float(exponential.min()) > 0
    assert float(normal.mean()) == pytest.approx(0, abs=0.01)
    assert float(normal.std()) == pytest.approx(1, abs=0.01)


def test_torchs_own_generator_may_serve() -> None:
    torch.manual_seed(9)
    one = SeededDraws(None, 1)(10, 0, range(1), 4, 2)
    torch.manual_seed(9)
    assert torch.equal(SeededDraws(None, 1)(10, 0, range(1), 4, 2)[1], one[1])


def test_ranks() -> None:
    """Those of the README's table, and in proportion on other numbers of tokens."""
    assert [rank("0.96", g, 1600, 0.625) for g in range(8)] == [
        27, 219, 337, 401, 410, 317, 252, 306]
    assert [rank("0.85", g, 1600, 0.625) for g in range(3)] == [18, 64, 124]
    assert rank("0.96", 1, 400, 0.6) == 55
    assert rank("0.96", 1, 2304, 0.75) == 271 and rank("0.96", 1, 4096, 1.0) == 223
    assert rank("0.70", 0, 16, 0.625) == 1
    assert all(1 <= rank(a, g, 1600, 0.625) <= 1600 for a in alphas() for g in range(8))
    with pytest.raises(ValueError, match=r"alpha must be one of 0\.999, .*, got '0\.5'"):
        rank("0.5", 0, 1600, 0.625)


def test_ranks_of_the_published_table(fixtures: Path) -> None:
    table = json.loads((fixtures / "fastervar" / "rank_ratio.json").read_text())["alpha"]
    assert tuple(table) == alphas()
    for alpha, columns in table.items():
        for name, ratios in columns.items():
            side = int(name.removeprefix("width"))
            for group, ratio in enumerate(ratios):
                assert rank(alpha, group, side**2, side / 64) == int(ratio * side**2) + 1

"""ScaleKV: which keys layers hold, and plans that bound them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from toprovar.models.variants import get_variant
from toprovar.schedules import get_schedule
from toprovar.sparsity.cost import WorkTable, count
from toprovar.sparsity.key_selection import Hold, hold, select_keys
from toprovar.sparsity.strategies.scalekv import scalekv_plan

SCHEDULE = get_schedule("1.0", "1M")


def pooled(q: torch.Tensor, k: torch.Tensor, wanted: Hold) -> torch.Tensor:
    """Agreement of every key with the observers, by loops, in float64: [M]."""
    own = len(k) - len(q)
    observers = [own + n for n in wanted.observers]
    logits = torch.stack([k.double() @ q[n].double() for n in wanted.observers]).sum(0)
    logits[observers] = -torch.inf
    found = torch.stack([logits[max(0, n - 2) : n + 3].max() for n in range(len(k))])
    found[observers] = torch.inf
    return found


def test_keys_are_those_of_the_released_code() -> None:
    """Up to the order of neighbours that pooling has made equal."""
    told = json.loads((Path(__file__).parent / "scalekv_keys.json").read_text())
    side, past = told["side"], told["past"]
    generator = torch.Generator().manual_seed(side)
    q = torch.randn(2, 3, side**2, 8, generator=generator)
    k = torch.randn(2, 3, past + side**2, 8, generator=generator)
    wanted = hold(told["keys"], (side, side), side**2)
    found = select_keys(q, k, wanted)
    for row in range(2):
        for head in range(3):
            scores = pooled(q[row, head], k[row, head], wanted)
            theirs = torch.tensor(told["kept"][row][head])
            torch.testing.assert_close(scores[found[row, head]].sort().values,
                                       scores[theirs].sort().values)
            mine = found[row, head].tolist()
            assert mine == sorted(set(mine))
            others = set(mine) ^ set(theirs.tolist())
            assert len(others) <= 4, "only neighbours at the threshold may differ"


def test_observers() -> None:
    assert hold(100, (8, 8), 64).observers[:5] == (0, 2, 4, 6, 16)
    assert hold(100, (4, 5), 20).observers[:4] == (0, 1, 2, 3)
    assert hold(100, (8, 8), 32).observers[:3] == (1, 3, 5)  # of those that are worked on
    assert hold(3, (8, 8), 64).observers == (10, 32, 53)
    assert hold(9, (2, 2), 4).observers == (0, 1, 2, 3)
    empty = select_keys(torch.zeros(1, 2, 4, 8), torch.zeros(1, 2, 9, 8), hold(0, (2, 2), 4))
    assert empty.shape == (1, 2, 0)


@pytest.mark.parametrize(("name", "narrow"), [
    ("2b", {7: 632, 8: 594, 9: 526, 10: 420}), ("8b", {7: 629, 8: 584, 9: 503, 10: 374})])
def test_budgets_are_the_published_ones(name: str, narrow: dict[int, int]) -> None:
    """Of the released tables "10 %", which round a layer's part to 650 keys and the drafters' down
    by up to 3 %."""
    shape = get_variant(name).config
    plan = scalekv_plan(shape, SCHEDULE, 650 / 6425)
    for scale, keys in narrow.items():
        assert plan.scales[scale].cache[5] == pytest.approx(keys, abs=12)
        assert sum(plan.scales[scale].cache) <= 650 * shape.depth
        assert plan.scales[scale].cache[0] == sum(SCHEDULE.tokens[: scale + 1])


def test_cache_of_a_plan() -> None:
    shape = get_variant("8b").config
    plan = scalekv_plan(shape, SCHEDULE)
    cost = count(plan, shape)
    assert cost.token_layer_share == 1 and 0.6 < cost.flop_share < 0.95
    assert cost.kv_share < 0.13  # with the largest layer at work
    own, dense = WorkTable.of(plan), WorkTable.dense(plan)
    assert own.kv_values / dense.kv_values == cost.kv_share
    assert not scalekv_plan(shape, SCHEDULE, 1.0, ()).compiled.bounded
    with pytest.raises(ValueError, match="drafters"):
        scalekv_plan(shape, SCHEDULE, 0.1, (40,))

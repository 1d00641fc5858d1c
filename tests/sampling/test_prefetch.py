"""The weights that are asked for ahead are those that are read next; pictures keep their bits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.sampling.test_graphs import SCHEDULE, plans
from tests.tiny import random_text, tiny_transformer
from toprovar.models.transformer import InfinityTransformer
from toprovar.sampling import prefetch
from toprovar.sampling.params import EngineOptions, SamplingParams
from toprovar.sampling.prefetch import WeightPrefetch, products
from toprovar.sampling.run import SamplingRun


def draw(model: InfinityTransformer, plan: Any, ahead: bool) -> Tensor:
    options = EngineOptions(graphs=False, fused=True, prefetch_weights=ahead)
    run = SamplingRun(model, random_text(5).to(model.null_text.device),
                      SamplingParams(SCHEDULE, 3.0, 0.7), plan=plan, options=options,
                      generators=torch.Generator().manual_seed(1))
    for _ in run:
        pass
    return run.summed_codes.clone()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What is asked for, as if every scale were being recorded."""
    found: list[Tensor] = []
    monkeypatch.setattr(WeightPrefetch, "recording", lambda self: True)
    monkeypatch.setattr(WeightPrefetch, "ask", lambda self, weight: found.append(weight))
    return found


@pytest.mark.parametrize("name", ["dense", "cached", "exit", "skipvar"])
def test_each_product_asks_for_the_next(asked: list[Tensor], name: str) -> None:
    model = tiny_transformer(depth=4, block_chunks=2)
    plan = plans(model)[name]
    read: list[Tensor] = []
    after = WeightPrefetch.after

    def noting(self: WeightPrefetch, product: Any, tokens: int) -> None:
        read.append(product.weight)
        before = len(asked)
        after(self, product, tokens)
        asked.extend([product.weight] if len(asked) == before else [])  # nothing: marked by itself

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WeightPrefetch, "after", noting)
        with_it = draw(model, plan, True)
    assert len(asked) == len(read) >= 6 * 4 * 4
    for i, (mine, following) in enumerate(zip(asked, read[1:], strict=False)):
        # At the end of a scale nothing was asked for.
        assert mine is following or mine is read[i]
    ends = sum(mine is own for mine, own in zip(asked, read, strict=True))
    assert ends == sum(step.run for step in plan.scales) if plan is not None else ends == 7
    asked.clear()
    assert torch.equal(with_it, draw(model, plan, False)) and not asked


def test_scales_of_many_tokens_ask_for_nothing(asked: list[Tensor],
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_transformer(depth=2, block_chunks=1)
    monkeypatch.setattr(prefetch, "MOST_TOKENS", 32)  # of two rows: scales of up to 16 tokens
    draw(model, None, True)
    assert len(asked) == 3 * (6 * 2 - 1)


def test_nothing_is_asked_for_outside_a_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_transformer(depth=2, block_chunks=1)
    monkeypatch.setattr(WeightPrefetch, "ask", lambda self, weight: pytest.fail("asked"))
    draw(model, None, True)


def test_products_are_those_of_the_block() -> None:
    block = tiny_transformer(depth=1, block_chunks=1).block(0)
    wide = [m for m in block.modules() if isinstance(m, torch.nn.Linear)]
    left = {id(m) for m in wide} - {id(m) for m in products(block)}
    assert left == {id(block.cross_attn.to_kv)}  # once a picture

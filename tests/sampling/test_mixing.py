"""Scales that work on random mixtures: against the plain loop, and against themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.sampling.plain import Mixed, plain_logits
from tests.tiny import random_text, tiny_transformer
from toprovar.entropy.trace import TraceRecorder
from toprovar.models.text import PackedText
from toprovar.sampling.bits import ForcedBits
from toprovar.sampling.params import EngineOptions, SamplingParams
from toprovar.sampling.run import LayerProbe, SamplingRun, ScaleState
from toprovar.schedules import get_schedule
from toprovar.sparsity.mixing_draws import SeededDraws
from toprovar.sparsity.plan import SparsityPlan
from toprovar.sparsity.strategies.fastervar import fastervar_plan

SCHEDULE = get_schedule("1.0", "0.06M")
PARAMS = SamplingParams(SCHEDULE, 3.0, 0.7)
MODEL = tiny_transformer(depth=4, block_chunks=2)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plan_of(**how: Any) -> SparsityPlan:
    return fastervar_plan(MODEL.shape, SCHEDULE, how.pop("alpha", "0.97"), by_chunk=True, **how)


def run(plan: Any, text: PackedText | None = None, seeds: tuple[int, ...] = (1,), **how: Any
        ) -> list[ScaleState]:
    return list(SamplingRun(MODEL, text or random_text(5), how.pop("params", PARAMS), plan=plan,
                            generators=[seeded(s) for s in seeds], **how))


@pytest.mark.parametrize("fused", [False, True])
def test_against_the_plain_loop(fused: bool) -> None:
    """Three scales on mixtures, each of which is restored from the one before."""
    text, plan = random_text(3, 6), plan_of(skipped=0)
    draws = SeededDraws(seeded(4), 2)
    mixed: dict[tuple[int, int], Mixed] = {}
    for scale in (4, 5, 6):
        step = plan.scales[scale]
        assert step.special is not None
        for group, (start, end) in enumerate(zip(step.special.starts, step.special.ends,
                                                 strict=True)):
            drawn = draws(scale, group, range(2), step.tokens, step.keep[start])
            mixed[scale, start] = Mixed(*drawn, end)
    bits = [torch.randint(0, 2, (2, n, 8), generator=seeded(n), dtype=torch.uint8)
            for n in SCHEDULE.tokens]
    states = run(plan, text, (1, 2), params=SamplingParams(SCHEDULE, 1.0, 1.0), draws=draws,
                 choose=ForcedBits(bits), options=EngineOptions(fused=fused))
    expected = plain_logits(MODEL, text, SCHEDULE, bits, {}, mixed=mixed)
    for state, logits in zip(states, expected, strict=True):
        torch.testing.assert_close(state.logits, logits, atol=1e-4, rtol=1e-4)
    plain = plain_logits(MODEL, text, SCHEDULE, bits, {})
    assert all((a - b).abs().max() > 1e-2 for a, b in zip(expected[4:], plain[4:], strict=True))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("skipped", [0, 2])
def test_the_unconditional_row_is_that_of_guidance_0(skipped: int, fused: bool) -> None:
    zero = SamplingParams(SCHEDULE, (3.0,) * 4 + (0.0,) * 3, 0.7)
    options = EngineOptions(fused=fused)
    text = random_text(3, 6)
    both = run(plan_of(skipped=skipped, guided=True), text, (1, 2), params=zero, options=options)
    one = run(plan_of(skipped=skipped), text, (1, 2), options=options)
    for a, b in zip(one, both, strict=True):
        torch.testing.assert_close(a.logits, b.logits, atol=2e-5, rtol=1e-5)
        assert torch.equal(a.bits, b.bits)
    assert [s.report.rows for s in one] == [4] * 4 + [2] * (3 - skipped)


def test_scales_before_are_dense_bit_by_bit() -> None:
    """And the generator of the bits is where it would be without mixtures."""
    dense, own = run(None), run(plan_of())
    assert len(own) == 5
    for a, b in zip(dense[:4], own[:4], strict=True):
        assert torch.equal(a.logits, b.logits) and torch.equal(a.bits, b.bits)


def test_a_seed_makes_its_picture_also_beside_others() -> None:
    text = random_text(5, 3)
    both = run(plan_of(skipped=1), text, (1, 2))
    again = run(plan_of(skipped=1), text, (1, 2))
    other = run(plan_of(skipped=1), text, (1, 3))
    alone = run(plan_of(skipped=1), PackedText(text.features[5:], (3,)), (2,))
    for a, b, c, d in zip(both, again, alone, other, strict=True):
        assert torch.equal(a.logits, b.logits)
        torch.testing.assert_close(a.logits[1:], c.logits, atol=2e-5, rtol=1e-5)
        assert torch.equal(a.bits[0], d.bits[0])
    assert not torch.equal(both[-1].logits[1], other[-1].logits[1])


def test_the_mixtures_draw_decides() -> None:
    """The same bits so far, other random numbers."""
    bits = [s.bits for s in run(plan_of())]
    one, two = (run(plan_of(), seeds=(seed,), choose=ForcedBits(bits)) for seed in (1, 2))
    assert torch.equal(one[3].logits, two[3].logits)
    assert not torch.allclose(one[4].logits, two[4].logits, atol=1e-3)


def test_what_a_probe_sees() -> None:
    class Probe(LayerProbe):
        def __init__(self) -> None:
            self.seen: list[tuple[str, int, tuple[int, ...]]] = []

        def mixed(self, scale: int, layer: int, places: Tensor, x: Tensor) -> None:
            assert places.shape == x.shape[:2] and places.unique().numel() == places.numel()
            self.seen.append(("mixed", layer, tuple(x.shape)))

        def unmixed(self, scale: int, layer: int, x: Tensor) -> None:
            self.seen.append(("unmixed", layer, tuple(x.shape)))

        def block_input(self, scale: int, layer: int, x: Tensor) -> None:
            if scale == 4:
                self.seen.append(("in", layer, tuple(x.shape)))

        def block_output(self, scale: int, layer: int, x: Tensor) -> None:
            if scale == 4:
                self.seen.append(("out", layer, tuple(x.shape)))

    probe, plan = Probe(), plan_of()
    plain = run(plan)
    for a, b in zip(plain, run(plan, probe=probe), strict=True):
        assert torch.equal(a.logits, b.logits)
    r, s = plan.scales[4].keep[0], plan.scales[4].keep[2]
    assert r != s and probe.seen == [
        ("in", 0, (1, 64, 32)), ("mixed", 0, (1, r, 32)), ("out", 0, (1, r, 32)),
        ("in", 1, (1, r, 32)), ("unmixed", 1, (1, r, 32)), ("out", 1, (1, 64, 32)),
        ("in", 2, (1, 64, 32)), ("mixed", 2, (1, s, 32)), ("out", 2, (1, s, 32)),
        ("in", 3, (1, s, 32)), ("unmixed", 3, (1, s, 32)), ("out", 3, (1, 64, 32)),
    ]


def test_mixtures_have_no_entropy_map() -> None:
    recorder = TraceRecorder()
    watched = run(plan_of(), watch=recorder)
    assert torch.equal(watched[-1].logits, run(plan_of())[-1].logits)
    assert {scale for scale, _ in recorder.maps} == {0, 1, 2, 3}


def test_the_report() -> None:
    own = SamplingRun(MODEL, random_text(5), PARAMS, plan=plan_of(), generators=seeded(1))
    for _ in own:
        pass
    report = own.report()
    keep = plan_of().scales[4].keep
    assert report.token_layers == 2 * 4 * sum(SCHEDULE.tokens[:4]) + sum(keep)
    assert report.scales[4].kept == keep and report.scales[4].rows == 1
    assert any("cfg has no effect" in note for note in report.notes)

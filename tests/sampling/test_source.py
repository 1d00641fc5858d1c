"""Runs that edit a picture: against a plain loop, in every way in which runs are computed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.sampling.editing import (
    CFG,
    SCHEDULE,
    Odd,
    bits_of,
    close,
    edited,
    editing_logits,
    expected,
    pictures,
    place,
)
from tests.sampling.test_graphs import same
from tests.tiny import random_text, tiny_transformer
from toprovar.entropy.trace import TraceRecorder
from toprovar.models.rope import editing_places
from toprovar.ops.attention.reference import entropy
from toprovar.sampling.bits import ForcedBits
from toprovar.sampling.observers import SOURCE
from toprovar.sampling.params import SamplingParams
from toprovar.sampling.run import LayerProbe, SamplingRun
from toprovar.sampling.source_cache import SourceCache
from toprovar.schedules import ScaleSchedule, get_schedule, pixel_budgets
from toprovar.sparsity.plan import ModelTag, ScalePlan, SparsityPlan, dense_scales
from toprovar.sparsity.strategies.scalekv import scalekv_plan
from toprovar.sparsity.strategies.window import window_plan

ODD = [
    Odd(),
    Odd("0.75", {"depth": 4, "block_chunks": 2, "width": 48, "num_heads": 3}),
    Odd("3.0", {"depth": 2, "block_chunks": 1, "bits_per_token": 16, "spatial_patchify": True}),
    Odd("1.25", {"depth": 4, "block_chunks": 4, "level_embed_every_chunk": True}),
    Odd("1.0", {"depth": 1, "block_chunks": 1, "num_heads": 1}),
]


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.template)
def test_other_shapes_and_aspects(odd: Odd, fused: bool) -> None:
    """Two instructions of unequal length for two pictures, with guidance."""
    model, schedule = odd.model(), odd.schedule
    text, source = random_text(5, 3), pictures(odd.model(), schedule, 2)
    found, _ = edited(model, text, source, schedule=schedule, fused=fused)
    close(found, expected(model, text, source, schedule))


@pytest.mark.parametrize("fused", [False, True])
def test_one_picture_serves_all_instructions_and_each_is_alone(fused: bool) -> None:
    model = Odd().model()
    text, source = random_text(5, 3), pictures(model, SCHEDULE, 1)
    together, _ = edited(model, text, source, fused=fused)
    close(together, expected(model, text, source, SCHEDULE))
    other, _ = edited(model, text, -source, fused=fused)
    assert (together[3].logits - other[3].logits).abs().mean() > 2e-3  # 100 times the limit


def test_without_guidance_there_is_one_row() -> None:
    model = Odd().model()
    text, source = random_text(4), pictures(model, SCHEDULE, 1)
    found, run = edited(model, text, source, cfg=1.0)
    report = run.report().source
    assert report is not None and (report.rows, report.tokens, report.layers) == (1, 256, 3)
    bits = bits_of(model, SCHEDULE, 1)
    with torch.inference_mode():
        close(found, editing_logits(model, text, SCHEDULE, source, bits))


@pytest.mark.parametrize("fused", [False, True])
def test_pruned_tokens(fused: bool) -> None:
    """Layers on some tokens, block 0 among them; a layer that a scale leaves out."""
    model = tiny_transformer(depth=4, block_chunks=2, family="varedit")
    scales, kept = list(dense_scales(SCHEDULE, 4)), {}
    for s, keep in ((4, (20, 64, 30, 64)), (5, (0, 60, 144, 20)), (6, (100, 100, 0, 256))):
        scales[s] = ScalePlan(grid=scales[s].grid, keep=keep, rule="random", dropped="identity")
    plan = SparsityPlan(strategy="own", model=ModelTag.of(model.shape), schedule="",
                        scales=tuple(scales), seed=5)
    text, source = random_text(5, 5), pictures(model, SCHEDULE, 2)
    found, run = edited(model, text, source, plan, fused=fused)
    for state in found:
        kept |= {(state.index, layer): index.cpu() for layer, index in state.kept.items()}
    assert {len(index) for index in kept.values()} == {20, 30, 60, 100}
    kept |= {(5, 0): torch.empty(0, dtype=torch.int64), (6, 2): torch.empty(0, dtype=torch.int64)}
    close(found, expected(model, text, source, SCHEDULE, kept))
    report = run.report()
    own = 4 * sum(sum(step.keep) for step in plan.scales)
    assert report.token_layers == own + 4 * 4 * 256
    assert report.dense_token_layers == 4 * 4 * (sum(SCHEDULE.tokens) + 256)


class Keys(LayerProbe):
    """What every attention saw."""

    def __init__(self) -> None:
        self.seen: dict[tuple[int, int], tuple[Tensor, Tensor, Tensor, Tensor]] = {}

    def attention(self, scale: int, layer: int, q: Tensor, k: Tensor, v: Tensor, out: Tensor
                  ) -> None:
        self.seen[scale, layer] = q.clone(), k.clone(), v.clone(), out.clone()


def test_a_bounded_cache_holds_the_whole_source() -> None:
    """What a plan bounds are the scales' keys."""
    model = tiny_transformer(depth=4, block_chunks=2, family="varedit")
    plan = scalekv_plan(model.shape, SCHEDULE, 0.2, (1,))
    keys = Keys()
    text, source = random_text(5), pictures(model, SCHEDULE, 1)
    _, run = edited(model, text, source, plan, probe=keys, fused=False)
    assert isinstance(run.runner.cache, SourceCache) and run.runner.cache.bounded
    for s, step in enumerate(plan.compiled.scales):
        for layer, block in enumerate(step.blocks):
            ahead = 256 if layer else SCHEDULE.tokens[s]
            assert keys.seen[s, layer][1].shape[2] == ahead + block.keys
            if layer:
                for part in (1, 2):
                    assert torch.equal(keys.seen[s, layer][part][:, :, :256],
                                       keys.seen[SOURCE, layer][part])


def test_windows_see_the_whole_source() -> None:
    model = tiny_transformer(depth=4, block_chunks=2, family="varedit")
    plan = window_plan(model.shape, SCHEDULE, 1, 3, 2, 1.0)
    assert any(block.window for block in plan.compiled.scales[-1].blocks)
    text, source = random_text(5), pictures(model, SCHEDULE, 1)
    keys = Keys()
    edited(model, text, source, plan, probe=keys, fused=False)
    layer = next(n for n, block in enumerate(plan.compiled.scales[-1].blocks) if block.window)
    q, k, v, out = (x.double() for x in keys.seen[6, layer])
    window = plan.compiled.scales[-1].blocks[layer].window
    assert window is not None
    # the first tile of 8 x 8 queries sees the source, the sinks, and the places around its own
    visible = list(range(256))
    start = 256
    for number, (h, w) in enumerate(window.grids):
        side = h if number < window.sinks else min(h, -(-8 * h // 16) + window.radius)
        visible += [start + y * w + x for y in range(side) for x in range(side)]
        start += h * w
    assert start == k.shape[2] and len(visible) < start
    for query in (0, 7, 16 * 7 + 7):
        p = (q[:, :, query : query + 1] @ k[:, :, visible].transpose(2, 3)).softmax(-1)
        wanted = p @ v[:, :, visible]
        torch.testing.assert_close(out[:, :, query : query + 1], wanted, atol=1e-5, rtol=1e-4)


def test_entropies_are_over_the_source_as_well() -> None:
    model = tiny_transformer(depth=4, block_chunks=2, family="varedit")
    recorder, keys = TraceRecorder(), Keys()
    text, source = random_text(5), pictures(model, SCHEDULE, 1)
    edited(model, text, source, watch=recorder, probe=keys, fused=False)
    for at, found in recorder.maps.items():
        q, k, _, _ = keys.seen[at]
        torch.testing.assert_close(found.flatten().double(),
                                   entropy(q[:1], k[:1], 1.0).mean(1).flatten(), atol=1e-4, rtol=0)
    trace = recorder.trace(SCHEDULE, 4, edits=True)
    assert trace.keys[6, 1] == keys.seen[6, 1][1].shape[2] == 777
    assert trace.keys[3, 0] == keys.seen[3, 0][1].shape[2] == 57 + 36
    assert (SOURCE, 0) not in trace.maps


def test_the_source_is_read_once_and_can_be_read_beforehand() -> None:
    model = Odd().model()
    text, source = random_text(5), pictures(model, SCHEDULE, 1)
    run = SamplingRun(model, text, SamplingParams(SCHEDULE, CFG, 1.0), source=source,
                      choose=ForcedBits(bits_of(model, SCHEDULE, 1)))
    run.read_source()
    before = run.source_report
    states = list(run)
    assert run.source_report is before
    same(states, edited(model, text, source)[0])


def test_a_run_can_be_ended_while_the_source_passes() -> None:
    model = Odd().model()
    calls = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        edited(model, random_text(3), pictures(model, SCHEDULE, 1), check=check)
    assert len(calls) == 2


@pytest.mark.parametrize("template", ["1.0", "0.571", "2.5"])
@pytest.mark.parametrize("pn", pixel_budgets())
def test_places_by_their_running_number(template: str, pn: str) -> None:
    schedule = get_schedule(template, pn)
    places = torch.cat(editing_places(schedule)).tolist()
    assert len(places) == sum(schedule.tokens) + schedule.tokens[-1]
    for n in range(0, len(places), 37):
        assert tuple(places[n]) == place(n, schedule)


def test_a_schedule_beyond_the_table_is_refused() -> None:
    grids = tuple((8, 8) for _ in range(9))
    schedule = ScaleSchedule("own", "own", grids, (2, 2))
    with pytest.raises(ValueError, match=r"640 tokens, the table .* has 580"):
        editing_places(schedule)


@pytest.mark.parametrize(("source", "message"), [
    (None, "this model .VAREdit. edits a picture and cannot draw from text alone"),
    (torch.zeros(1, 8, 16, 15), r"expected features \[1 or 2, 8, 16, 16\] .*\[1, 8, 16, 15\]"),
    (torch.zeros(3, 8, 16, 16), r"expected features \[1 or 2, 8, 16, 16\] .*\[3, 8, 16, 16\]"),
    (torch.full((1, 8, 16, 16), torch.nan), "source: expected finite numbers"),
])
def test_impossible_sources(source: Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SamplingRun(Odd().model(), random_text(3, 4), SamplingParams(SCHEDULE), source=source)


def test_infinity_takes_no_source() -> None:
    with pytest.raises(ValueError, match="needs a VAREdit model, loaded with family='varedit'"):
        SamplingRun(tiny_transformer(), random_text(3), SamplingParams(SCHEDULE),
                    source=torch.zeros(1, 8, 16, 16))

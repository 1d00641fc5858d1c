"""Recorded scales: the bookkeeping on a CPU by a tape, the same with CUDA graphs on a GPU."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.sampling.tape import TapePool
from tests.tiny import random_text, tiny_transformer
from toprovar.entropy.trace import TraceRecorder
from toprovar.models.text import PackedText
from toprovar.models.transformer import InfinityTransformer
from toprovar.sampling import setup, workspace
from toprovar.sampling.params import EngineOptions, SamplingParams
from toprovar.sampling.run import LayerProbe, SamplingRun, ScaleState
from toprovar.schedules import get_schedule
from toprovar.sparsity.plan import ModelTag, ScalePlan, SparsityPlan, dense_scales
from toprovar.sparsity.strategies.fastervar import fastervar_plan
from toprovar.sparsity.strategies.fastvar import fastvar_plan
from toprovar.sparsity.strategies.scalekv import scalekv_plan
from toprovar.sparsity.strategies.skipvar.policies import skipvar_plan
from toprovar.sparsity.strategies.toprovar.in_run import ToProVar
from toprovar.sparsity.strategies.toprovar.settings import ToProVarSettings
from toprovar.sparsity.strategies.window import window_plan

SCHEDULE = get_schedule("1.0", "0.06M")


@pytest.fixture
def model(device: str) -> Iterator[InfinityTransformer]:
    found = tiny_transformer(depth=4, block_chunks=2)
    nn.Module.to(found, device)
    yield found
    workspace.release(found)


def sparse_plan(model: InfinityTransformer, dropped: str, rule: str = "entropy",
                unguided: int = 0, only: str = "unconditional") -> SparsityPlan:
    """Layers 1 and 2 (or all, where tokens exit) on some tokens of the last three scales."""
    scales = list(dense_scales(SCHEDULE, model.shape.depth))
    for s in range(4, 7):
        tokens = scales[s].tokens
        part = tokens // 3 if s < 6 else tokens // 2
        keep = (tokens, part, part, tokens) if dropped != "exit" else (part,) * 4
        scales[s] = ScalePlan(grid=scales[s].grid, keep=keep, dropped=dropped,  # type: ignore[arg-type]
                              rule=rule, **{only: s < 7 - unguided})  # type: ignore[arg-type]
    return SparsityPlan(strategy="own", model=ModelTag.of(model.shape), schedule="",
                        scales=tuple(scales), seed=5)


def plans(model: InfinityTransformer) -> dict[str, Any]:
    return {
        "dense": None,
        "identity": sparse_plan(model, "identity"),
        "cached": sparse_plan(model, "cached", unguided=1),
        "exit": sparse_plan(model, "exit", unguided=2),
        "unconditional row": sparse_plan(model, "cached", "variance", 2, "conditional"),
        "variance": sparse_plan(model, "cached", "variance"),
        "random": sparse_plan(model, "identity", "random"),
        "fastvar": fastvar_plan(model.shape, SCHEDULE),
        "fastervar": fastervar_plan(model.shape, SCHEDULE, "0.99"),
        "mixtures": fastervar_plan(model.shape, SCHEDULE, "0.85", skipped=0, guided=True),
        "bounded": scalekv_plan(model.shape, SCHEDULE, 0.3),
        "window": window_plan(model.shape, SCHEDULE, 1, 3, 2, 1.0),
        "skipvar": skipvar_plan(model.shape, SCHEDULE, skip=1),
        "in run": ToProVar(ToProVarSettings(dropped="cached", start_scale=4)),
    }


def draw(model: InfinityTransformer, text: PackedText, plan: Any, graphs: bool, seed: int = 1,
         **how: Any) -> tuple[list[ScaleState], SamplingRun]:
    options = EngineOptions(graphs=graphs, fused=True)
    run = SamplingRun(model, text.to(model.null_text.device), SamplingParams(SCHEDULE, 3.0, 0.7),
                      plan=plan, generators=torch.Generator().manual_seed(seed), options=options,
                      **how)
    return list(run), run


def same(a: list[ScaleState], b: list[ScaleState]) -> None:
    for one, two in zip(a, b, strict=True):
        assert torch.equal(one.bits, two.bits)
        torch.testing.assert_close(one.logits, two.logits, atol=1e-5, rtol=1e-5)
        assert one.kept.keys() == two.kept.keys()
        for layer, index in one.kept.items():
            assert torch.equal(index, two.kept[layer])
    torch.testing.assert_close(a[-1].summed_codes, b[-1].summed_codes)


@pytest.mark.parametrize("name", ["dense", "identity", "cached", "exit", "unconditional row",
                                  "variance", "random", "fastvar", "fastervar", "mixtures",
                                  "bounded", "window", "skipvar",
                                  "in run"])
def test_replayed_pictures_are_those_of_eager_runs(model: InfinityTransformer, name: str) -> None:
    """Prompts of other lengths, other seeds: nothing of the recorded picture sticks."""
    plan = plans(model)[name]
    recorded, first = draw(model, random_text(5), plan, graphs=True)
    assert first.replayed == 0
    same(recorded, draw(model, random_text(5), plan, graphs=False)[0])
    for seed, text in ((2, random_text(3, seed=1)), (3, random_text(16, seed=2))):
        found, run = draw(model, text, plan, graphs=True, seed=seed)
        same(found, draw(model, text, plan, graphs=False, seed=seed)[0])
        if name != "in run":
            assert run.replayed == len(found)
            assert run.report().replayed_scales == len(found)


def test_plans_share_the_scales_they_have_in_common(model: InfinityTransformer) -> None:
    text = random_text(4)
    draw(model, text, None, graphs=True)
    _, run = draw(model, text, sparse_plan(model, "identity"), graphs=True)
    assert run.replayed == 3  # the fourth also takes entropies for the fifth
    _, run = draw(model, text, sparse_plan(model, "identity"), graphs=True)
    assert run.replayed == 7


def test_a_replayed_scale_keeps_what_this_plan_still_needs(model: InfinityTransformer) -> None:
    """Two plans with one sixth scale: only the second needs the fifth scale's updates after it."""
    later: dict[str, Any] = {"rule": "variance", "dropped": "cached", "source": 4}

    def plan(last: dict[str, Any]) -> SparsityPlan:
        scales = list(dense_scales(SCHEDULE, model.shape.depth))
        for s, own in ((5, later), (6, last)):
            tokens = scales[s].tokens
            keep = (tokens // 2,) * 4 if own else (tokens,) * 4
            scales[s] = ScalePlan(grid=scales[s].grid, keep=keep, **own)
        return SparsityPlan(strategy="own", model=ModelTag.of(model.shape), schedule="",
                            scales=tuple(scales))

    text = random_text(4)
    draw(model, text, plan({}), graphs=True)
    found, _ = draw(model, text, plan(later), graphs=True)
    same(found, draw(model, text, plan(later), graphs=False)[0])


def test_entropies_can_be_watched(model: InfinityTransformer) -> None:
    text, traces = random_text(4), []
    for graphs, seed in ((True, 1), (True, 2), (False, 2)):
        recorder = TraceRecorder()
        draw(model, text, sparse_plan(model, "cached"), graphs, seed, watch=recorder)
        traces.append(recorder.maps)
    assert traces[1].keys() == traces[2].keys()
    for place, found in traces[1].items():
        torch.testing.assert_close(found, traces[2][place], equal_nan=True)
    assert not torch.equal(traces[0][5, 0], traces[1][5, 0])


def test_changed_weights_are_seen(model: InfinityTransformer) -> None:
    text = random_text(4)
    draw(model, text, None, graphs=True)
    with torch.no_grad():
        model.block(1).modulation.mul_(1.5)
        model.block(2).self_attn.q_bias.add_(0.3)
        model.block(3).cross_norm.weight.mul_(0.5)
    found, run = draw(model, text, None, graphs=True)
    assert run.replayed == 7  # the same addresses
    same(found, draw(model, text, None, graphs=False)[0])
    model.block(0).ffn.fc1.weight.data = model.block(0).ffn.fc1.weight.data * 2  # other ones
    found, run = draw(model, text, None, graphs=True)
    assert run.replayed == 0
    same(found, draw(model, text, None, graphs=False)[0])


def test_two_runs_at_once_do_not_share_addresses(model: InfinityTransformer) -> None:
    params = SamplingParams(SCHEDULE, 3.0, 0.7)
    runs = [SamplingRun(model, random_text(4, seed=s).to(model.null_text.device), params,
                        generators=torch.Generator().manual_seed(s),
                        options=EngineOptions(graphs=True, fused=True)) for s in (1, 2)]
    pairs = list(zip(*runs, strict=True))
    for s, states in zip((1, 2), zip(*pairs, strict=True), strict=True):
        same(list(states), draw(model, random_text(4, seed=s), None, False, seed=s)[0])


def test_a_run_that_stops_early_gives_its_addresses_back(model: InfinityTransformer) -> None:
    text = random_text(4)
    draw(model, text, None, graphs=True)

    def stop() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        draw(model, text, None, graphs=True, check=stop)
    found, run = draw(model, text, None, graphs=True)
    assert run.replayed == 7
    same(found, draw(model, text, None, graphs=False)[0])


def test_long_prompts_get_room(model: InfinityTransformer) -> None:
    wide = tiny_transformer(text_max_length=300)
    nn.Module.to(wide, model.null_text.device)
    for length in (4, 200, 300, 7):
        text = random_text(length)
        same(draw(wide, text, None, True)[0], draw(wide, text, None, False)[0])


def test_several_images_and_layers_that_mix(model: InfinityTransformer) -> None:
    text = random_text(4, 7, 2)
    results = []
    for graphs, cfg in ((True, 2.0), (True, 3.0), (False, 3.0)):
        params = SamplingParams(SCHEDULE, cfg, 0.7, cfg_insertion_layer=(0, -2))
        run = SamplingRun(model, text.to(model.null_text.device), params,
                          generators=torch.Generator().manual_seed(1),
                          options=EngineOptions(graphs=graphs, fused=True))
        results.append(list(run))
    same(results[1], results[2])
    assert not torch.equal(results[0][-1].bits, results[1][-1].bits)


def test_what_looks_into_blocks_keeps_graphs_away(model: InfinityTransformer) -> None:
    with pytest.raises(ValueError, match="graphs=True: a probe"):
        draw(model, random_text(4), None, graphs=True, probe=LayerProbe())


def test_no_graphs_on_a_cpu() -> None:
    with pytest.raises(ValueError, match="NVIDIA GPUs, this is cpu"):
        draw(tiny_transformer(), random_text(4), None, graphs=True)


@pytest.mark.parametrize("name", ["dense", "identity", "cached", "exit", "fastvar"])
def test_fused_blocks_against_the_plain_ones(name: str) -> None:
    model, text = tiny_transformer(depth=4, block_chunks=2), random_text(4, 9)
    plan = plans(model)[name]
    found: list[list[Tensor]] = []
    for fused in (True, False):
        run = SamplingRun(model, text, SamplingParams(SCHEDULE, 3.0, 0.7), plan=plan,
                          generators=torch.Generator().manual_seed(1),
                          options=EngineOptions(fused=fused))
        found.append([s.logits for s in run])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=2e-4)


def test_a_model_is_not_kept_alive(device: str) -> None:
    own = tiny_transformer()
    nn.Module.to(own, device)
    draw(own, random_text(4), None, graphs=True)
    gone = weakref.ref(own)
    del own
    gc.collect()
    assert gone() is None


def test_a_model_that_moves_frees_what_was_recorded(model: InfinityTransformer) -> None:
    draw(model, random_text(4), None, graphs=True)
    nn.Module.to(model, model.null_text.device)  # nowhere: it stays
    _, run = draw(model, random_text(4), None, graphs=True)
    assert run.replayed == 7 and run.workspace is not None
    gone = weakref.ref(run.workspace)
    del run
    nn.Module.double(model)
    gc.collect()
    assert gone() is None


def test_what_cannot_be_recorded_runs_step_by_step(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Refusing(TapePool):
        def record(self, work: Any) -> Any:
            work()
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(workspace, "GraphPool", Refusing)
    monkeypatch.setattr(setup, "why_no_graphs", lambda device: None)
    own = tiny_transformer(depth=4, block_chunks=2)
    plan = sparse_plan(own, "cached")
    for seed in (1, 2):
        found, run = draw(own, random_text(4), plan, graphs=True, seed=seed)
        assert run.replayed == 0
        same(found, draw(own, random_text(4), plan, graphs=False, seed=seed)[0])
    assert [r.getMessage() for r in caplog.records] == [
        "scales cannot be recorded as CUDA graphs and run step by step: operation not permitted "
        "when stream is capturing"]


def test_a_cache_that_does_not_fit_takes_the_room_of_other_sizes(
    model: InfinityTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(model, random_text(4), None, graphs=True)
    made, borrow = [0], setup.borrow

    def no_room(*about: Any) -> Any:
        made[0] += 1
        if workspace.held_bytes(model):
            raise torch.OutOfMemoryError("no room")
        return borrow(*about)

    monkeypatch.setattr(setup, "borrow", no_room)
    found, _ = draw(model, random_text(4), None, graphs=True)
    assert made == [2] and len(found) == 7
    with pytest.raises(torch.OutOfMemoryError):
        monkeypatch.setattr(workspace, "Workspace", _fail)
        workspace.release(model)
        draw(model, random_text(4), None, graphs=True)


def _fail(*_: Any) -> Any:
    raise torch.OutOfMemoryError("no room")

"""Scales that begin with a shortcut: against the same steps spelt out, and against themselves."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.random_shortcuts import random_shortcuts
from tests.sampling.plans import IndexSelector
from tests.sampling.test_graphs import draw, same
from tests.sampling.test_sparse import MODEL, SCHEDULE, SHAPE, TOKENS, run
from tests.tiny import random_text, tiny_transformer
from toprovar.models.fingerprint import model_fingerprint
from toprovar.models.transformer import InfinityTransformer
from toprovar.sampling import workspace
from toprovar.sampling.params import SamplingParams
from toprovar.sampling.run import LayerProbe, SamplingRun
from toprovar.sparsity.linear_shortcut import LinearShortcut
from toprovar.sparsity.plan import ModelTag, ScalePlan, SparsityPlan
from toprovar.sparsity.shortcuts import Shortcuts, predict, register_shortcuts

FITTED = {(source, s) for s in (5, 6) for source in range(3, s)}


def maps(model: InfinityTransformer, *lengths: int, seed: int = 2) -> Shortcuts:
    """Close to handing on the residual of the scale before, with something of everything."""
    found = random_shortcuts(
        model_fingerprint(model), model.shape,
        [LinearShortcut(*places, n) for places in FITTED for n in lengths], strength=0.3,
        seed=seed)
    register_shortcuts(found)
    return found


def plan_of(model: InfinityTransformer, shortcuts: Shortcuts, steps: dict[int, dict[str, Any]]
            ) -> SparsityPlan:
    scales = tuple(
        ScalePlan(**({"grid": g, "keep": (g[0] * g[1],) * model.shape.depth} | steps.get(s, {})))
        for s, g in enumerate(SCHEDULE.grids))
    return SparsityPlan(strategy="own", model=ModelTag.of(model.shape), schedule="", scales=scales,
                        shortcuts=shortcuts.identity, seed=4)


class Residuals(LayerProbe):
    """All residuals, and what attention saw: by (scale, layer)."""

    def __init__(self) -> None:
        self.before: dict[tuple[int, int], Tensor] = {}
        self.after: dict[tuple[int, int], Tensor] = {}
        self.keys: dict[tuple[int, int], int] = {}

    def block_input(self, scale: int, layer: int, x: Tensor) -> None:
        self.before[scale, layer] = x.clone()

    def block_output(self, scale: int, layer: int, x: Tensor) -> None:
        self.after[scale, layer] = x.clone()

    def attention(self, scale: int, layer: int, q: Tensor, k: Tensor, v: Tensor, out: Tensor
                  ) -> None:
        self.keys[scale, layer] = k.shape[2]


@torch.no_grad()
def expected(own: Shortcuts, length: int, x: Tensor, given: Tensor, probe: Residuals, source: int,
             scale: int) -> Tensor:
    """``given``: the input of the scale before."""
    rows = x.shape[0]
    return predict(x, given[:rows], probe.after[source, length - 1][:rows], SCHEDULE.grids[source],
                   SCHEDULE.grids[scale],
                   own.at(LinearShortcut(source, scale, length), x.device, x.dtype))


@pytest.mark.parametrize("unguided", [0, 1])
def test_a_shortcut_stands_for_the_first_layers(unguided: int) -> None:
    own = maps(MODEL, 1, 2)
    plan = plan_of(MODEL, own, {
        4: {"run": False},
        5: {"shortcut": 1, "keep": (0, 144, 144)},
        6: {"shortcut": 2, "keep": (0, 0, 256), "unconditional": not unguided},
    })
    probe = Residuals()
    states, own_run = run(plan, probe=probe)
    assert {(s, n) for s, n in probe.before if s > 4} == {(5, 1), (5, 2), (6, 2)}
    # The scale's own input is what a dense run of these very codes has before its first block.
    for scale, length, source in ((5, 1, 3), (6, 2, 5)):
        x = _input(own_run, states, scale)
        torch.testing.assert_close(probe.before[scale, length],
                                   expected(own, length, x, _input(own_run, states, source),
                                            probe, source, scale),
                                   atol=1e-5, rtol=1e-5)
    assert probe.keys[6, 2] == sum(TOKENS) - 64  # all but those of the scale left out
    assert probe.keys[5, 1] == sum(TOKENS[:4]) + 144
    assert own_run.report().scales[-1].kept == (0, 0, 256)


@torch.no_grad()
def _input(own_run: SamplingRun, states: list[Any], scale: int) -> Tensor:
    """[R, N, C] with the level embedding: from the codes of the scales before."""
    from toprovar.sampling.head import add_codes_, embed_scale

    codes = torch.zeros_like(own_run.summed_codes)
    for state in states:
        if state.index < scale:
            add_codes_(codes, state.bits, state.grid, SHAPE.patch)
    rows = 2 if own_run.plan_state.plan.scales[scale].unconditional else 1
    x = embed_scale(MODEL, codes, SCHEDULE.grids[scale], rows, torch.float32)
    return x + MODEL.level_embed.weight[scale]


def test_dropped_tokens_rejoin_as_predicted() -> None:
    own = maps(MODEL, 1, 2)
    plan = plan_of(MODEL, own, {
        6: {"shortcut": 1, "keep": (0, 100, 256), "dropped": "shortcut", "rule": "random"}})
    index = torch.arange(0, 200, 2)
    probe = Residuals()
    states, own_run = run(plan, probe=probe, selector=IndexSelector({(6, 1): index}))
    x = _input(own_run, states, 6)
    given = _input(own_run, states, 5)
    start, late = (expected(own, n, x, given, probe, 5, 6) for n in (1, 2))
    torch.testing.assert_close(probe.before[6, 1], start, atol=1e-5, rtol=1e-5)
    worked_on = torch.zeros(256, dtype=torch.bool).index_fill_(0, index, True)
    into = probe.before[6, 2]
    torch.testing.assert_close(into[:, ~worked_on], late[:, ~worked_on], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(into[:, worked_on], probe.after[6, 1][:, worked_on])
    assert not torch.allclose(probe.after[6, 1][:, worked_on], start[:, worked_on])
    assert probe.keys[6, 1] == sum(TOKENS[:6]) + 100 and probe.keys[6, 2] == sum(TOKENS)
    assert torch.equal(states[-1].kept[1], index)
    # They stay in the picture: no code is left out.
    assert own_run.blocks.stayed is None


def test_maps_of_another_model_or_none_are_refused() -> None:
    other = tiny_transformer(seed=5)
    plan = plan_of(MODEL, maps(other, 1), {6: {"shortcut": 1, "keep": (0, 256, 256)}})
    with pytest.raises(ValueError, match="are of the model"):
        run(plan)
    with pytest.raises(ValueError, match="not at hand"):
        run(plan.model_copy(update={"shortcuts": "0123"}))
    with pytest.raises(ValueError, match="cfg_insertion_layer"):
        run(plan_of(MODEL, maps(MODEL, 2), {6: {"shortcut": 2, "keep": (0, 0, 256)}}),
            params=SamplingParams(SCHEDULE, 3.0, 0.7, cfg_insertion_layer=(-2,)))


@pytest.mark.parametrize("chunks", [1, 2])
def test_level_embeddings_of_later_chunks_are_added_to_predicted_tokens_too(chunks: int) -> None:
    model = tiny_transformer(depth=4, block_chunks=2, level_embed_every_chunk=chunks == 2)
    plan = plan_of(model, maps(model, 2), {
        6: {"keep": (100, 100, 256, 256), "dropped": "shortcut", "rule": "random"}})
    probe = Residuals()
    own_run = SamplingRun(model, random_text(5), SamplingParams(SCHEDULE, 3.0, 0.7), plan=plan,
                          generators=torch.Generator().manual_seed(1), probe=probe)
    states = list(own_run)
    index = states[-1].kept[0]
    level = model.level_embed.weight[6] if chunks == 2 else torch.zeros(model.shape.width)
    torch.testing.assert_close(probe.before[6, 2][:, index], probe.after[6, 1][:, index] + level)
    dropped = [n for n in range(256) if n not in set(index.tolist())]
    x = probe.before[6, 0]
    late = expected(maps(model, 2), 2, x, probe.before[5, 0], probe, 5, 6) + level
    torch.testing.assert_close(probe.before[6, 2][:, dropped], late[:, dropped], atol=1e-5,
                               rtol=1e-5)


@pytest.mark.parametrize("steps", [
    {5: {"shortcut": 2, "keep": (0, 0, 144, 144)}, 6: {"shortcut": 3, "keep": (0, 0, 0, 256)}},
    {6: {"shortcut": 2, "keep": (0, 0, 90, 90), "dropped": "exit", "unconditional": False}},
    {5: {"shortcut": 2, "keep": (0, 0, 144, 144), "unconditional": False},
     6: {"shortcut": 2, "keep": (0, 0, 128, 256), "dropped": "shortcut", "guide": (3,),
         "unconditional": False}},
    {6: {"keep": (64, 64, 64, 256), "dropped": "shortcut"}},
])
class TestEveryKind:
    def test_recorded_scales_give_the_same_pictures(self, device: str, steps: dict) -> None:
        model = tiny_transformer(depth=4, block_chunks=2)
        nn.Module.to(model, device)
        plan = plan_of(model, maps(model, 2, 3), steps)
        for seed, text in ((1, random_text(5)), (2, random_text(3, seed=1))):
            found, own_run = draw(model, text, plan, graphs=True, seed=seed)
            same(found, draw(model, text, plan, graphs=False, seed=seed)[0])
        assert own_run.replayed == 7
        # Another plan's maps are not taken for these.
        other = maps(model, 2, 3, seed=5)
        plan = plan.model_copy(update={"shortcuts": other.identity})
        found, own_run = draw(model, random_text(5), plan, graphs=True)
        same(found, draw(model, random_text(5), plan, graphs=False)[0])
        assert own_run.replayed < 7
        workspace.release(model)

    def test_fused_blocks_against_the_plain_ones(self, steps: dict) -> None:
        from toprovar.sampling.params import EngineOptions

        model = tiny_transformer(depth=4, block_chunks=2)
        plan = plan_of(model, maps(model, 2, 3), steps)
        pictures = [list(SamplingRun(
            model, random_text(5), SamplingParams(SCHEDULE, 3.0, 0.7), plan=plan,
            generators=torch.Generator().manual_seed(3), options=EngineOptions(fused=fused),
        )) for fused in (False, True)]
        same(*pictures)

    def test_images_of_a_batch_do_not_influence_one_another(self, steps: dict) -> None:
        model = tiny_transformer(depth=4, block_chunks=2)
        plan = plan_of(model, maps(model, 2, 3), steps)

        def codes(lengths: tuple[int, ...], seeds: list[int]) -> Tensor:
            own_run = SamplingRun(
                model, random_text(*lengths), SamplingParams(SCHEDULE, 3.0, 0.7), plan=plan,
                generators=[torch.Generator().manual_seed(s) for s in seeds])
            list(own_run)
            return own_run.summed_codes

        both = codes((4, 4), [1, 2])
        torch.testing.assert_close(both[:1], codes((4,), [1]))

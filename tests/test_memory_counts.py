"""Bytes that are foreseen against bytes that are counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.counted import Counted, tensors_of
from tests.tiny import tiny_pipeline
from toprovar.memory.needs import Counts, Request
from toprovar.memory.placement import Placement, Speed
from toprovar.memory.plan import MemoryPlanner
from toprovar.memory.request import Allowance, told
from toprovar.planning import make_plan
from toprovar.sampling.params import EngineOptions, SamplingParams
from toprovar.sampling.run import SamplingRun
from toprovar.schedules import get_schedule
from toprovar.sparsity.plan import SparsityPlan

SMALL = get_schedule("1.0", "0.06M")
FUSED = EngineOptions(fused=True)
SHAPE: dict[str, Any] = {"depth": 8, "block_chunks": 2, "width": 256, "num_heads": 4}


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return tiny_pipeline(**SHAPE)


@pytest.mark.parametrize("hosted", [0, 4, 8])
@pytest.mark.parametrize(("plan", "images", "guided"), [
    (None, 1, True), (None, 3, True), (None, 1, False), ("fastvar", 1, True), ("scalekv", 1, True),
])
def test_a_run_takes_what_is_foreseen(pipeline: Any, plan: str | None, images: int, guided: bool,
                                      hosted: int) -> None:
    """Weights, cache, text and intermediate results together, within a tenth."""
    made = None if plan is None else make_plan(pipeline, plan, SMALL)
    assert made is None or isinstance(made, SparsityPlan)
    if plan == "scalekv" and hosted:
        pytest.skip("a cache of few keys is never put away")
    request = Request(SMALL, images, guided, made, options=FUSED, pictures=False)
    counts = Counts(pipeline.transformer, pipeline.vae, request, on_gpu=False)
    text = pipeline.encode_prompt(["a red cat"] * images)
    weights = tensors_of(pipeline.transformer)
    options = replace(FUSED, hosted_layers=hosted)
    with Counted([*weights, text.features]) as counted:
        run = SamplingRun(pipeline.transformer, text, SamplingParams(SMALL, 3.0 if guided else 1.0),
                          plan=made, options=options)
        for _ in run:
            pass
    cache, at_home = counts.cache(images, hosted)
    assert run.runner.cache.nbytes == cache
    found = counted.peak - at_home - sum(t.nbytes for t in weights)
    foreseen = cache + sum(count(images) for count in (
        counts.text, counts.kept, counts.codes, counts.scratch))
    every = sum(t.nbytes for t in weights)
    assert every + found == pytest.approx(every + foreseen, rel=0.1)


@pytest.fixture(scope="module")
def editing() -> Any:
    return tiny_pipeline(**SHAPE, family="varedit")


@pytest.mark.parametrize(("plan", "images", "guided", "hosted", "narrow"), [
    (None, 1, True, 0, False), (None, 3, True, 4, False), (None, 1, False, 8, False),
    (None, 1, True, 0, True), ("fastvar", 1, True, 0, False), ("scalekv", 1, True, 0, False),
])
def test_an_edit_takes_what_is_foreseen(editing: Any, plan: str | None, images: int, guided: bool,
                                        hosted: int, narrow: bool) -> None:
    """The source's keys are in the cache, and once more whole for the first block."""
    made = None if plan is None else make_plan(editing, plan, SMALL)
    assert made is None or isinstance(made, SparsityPlan)
    options = replace(FUSED, cache_dtype=torch.float8_e4m3fn if narrow else None)
    request = Request(SMALL, images, guided, made, options=options, pictures=False)
    counts = Counts(editing.transformer, editing.vae, request, on_gpu=False)
    text = editing.encode_prompt(["a red cat"] * images)
    weights, source = tensors_of(editing.transformer), torch.zeros(images, 8, 16, 16)
    with Counted([*weights, text.features]) as counted:
        run = SamplingRun(editing.transformer, text, SamplingParams(SMALL, 3.0 if guided else 1.0),
                          plan=made, options=replace(options, hosted_layers=hosted), source=source)
        for _ in run:
            pass
    cache, at_home = counts.cache(images, hosted, narrow)
    assert run.runner.cache.nbytes == cache == run.report().kv_bytes
    found = counted.peak - at_home - sum(t.nbytes for t in weights)
    foreseen = cache + sum(count(images) for count in (counts.text, counts.kept, counts.codes)) \
        + counts.scratch(images, narrow)
    every = sum(t.nbytes for t in weights)
    assert every + found == pytest.approx(every + foreseen, rel=0.1)


def test_encoding_is_counted(editing: Any, pipeline: Any) -> None:
    """In float32, as a picture is encoded, whatever the autoencoder's dtype is."""
    request = Request(SMALL, 1, options=FUSED, pictures=False)
    sizes = [Counts(p.transformer, p.vae, request).picture() for p in (editing, pipeline)]
    assert sizes[0] >= 4 * 32 * 256 * 256 and sizes[1] == 0


def plan_for(pipeline: Any, available: float, means: str = "exact", bus: float = 5e10,
             images: int = 1, **about: Any) -> Any:
    pipeline.manage_memory("cpu", "1TB")
    found = pipeline.residency.planner(Request(SMALL, images, options=FUSED, pictures=False,
                                               **about))
    planner = MemoryPlanner(found.parts, found.counts, Speed(1e12, 1e11, bus))
    return planner.choose(Allowance.parse(means), int(available)), planner


def test_less_memory_never_means_less_waiting(pipeline: Any) -> None:
    whole, planner = plan_for(pipeline, 1 << 40)
    assert whole.placement == Placement() and whole.fits
    seconds = whole.seconds
    for share in (0.99, 0.9, 0.8, 0.7):
        plan, _ = plan_for(pipeline, share * whole.peak)
        assert plan.peak <= share * whole.peak or not plan.fits
        assert plan.seconds >= seconds * 0.999
        seconds = plan.seconds
        assert plan.host == planner.host(plan.placement)


def test_the_chosen_placement_is_the_quickest_that_fits(pipeline: Any) -> None:
    """Against every placement there is."""
    whole, planner = plan_for(pipeline, 1 << 40)
    available = int(0.85 * whole.peak)
    plan, _ = plan_for(pipeline, available)
    every = [planner.foresee(Placement(streamed=s, hosted=h, text=t), available)
             for s in range(9) for h in range(9) for t in range(3)]
    best = min((p for p in every if p.fits), key=lambda p: p.seconds)
    assert plan.fits and plan.seconds == pytest.approx(best.seconds, rel=1e-6)


def test_a_slow_bus_is_spared(pipeline: Any) -> None:
    whole, planner = plan_for(pipeline, 1 << 40)
    plan, _ = plan_for(pipeline, 0.9 * whole.peak, bus=1e6)
    moved = planner.host(plan.placement)
    fast, _ = plan_for(pipeline, 0.9 * whole.peak, bus=1e12)
    assert plan.fits and fast.fits
    assert moved <= planner.host(fast.placement) or plan.placement.hosted >= fast.placement.hosted


def test_several_images_are_drawn_apart_before_anything_is_rounded(pipeline: Any) -> None:
    one, _ = plan_for(pipeline, 1 << 40)
    plan, _ = plan_for(pipeline, one.peak * 1.1, "auto", images=4)
    assert plan.fits and plan.placement.images < 4
    assert not plan.placement.narrow_cache and not plan.placement.narrow_weights


@pytest.mark.parametrize(("text", "means", "limit"), [
    ("auto", "auto", None), ("exact", "exact", None), ("8-bit", "8-bit", None),
    ("6GB", "auto", 6 << 30), ("6GB exact", "exact", 6 << 30), ("1.5 GiB 8-bit", "8-bit", 3 << 29),
    ("512MB", "auto", 512 << 20), ("6g, exact", "exact", 6 << 30),
])
def test_words_of_memory(text: str, means: str, limit: int | None) -> None:
    assert Allowance.parse(text) == Allowance(means, limit)  # type: ignore[arg-type]  # one of them
    assert Allowance.parse(str(Allowance.parse(text))) == Allowance.parse(text)


@pytest.mark.parametrize("text", ["", "fast", "6", "0GB", "-6GB", "6GB fast", "GB", "6GB6GB"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="memory must be auto, exact, 8-bit, or a size"):
        Allowance.parse(text)


def test_sizes_in_words() -> None:
    assert (told(3 << 29), told(410 << 20)) == ("1.5 GiB", "410 MiB")

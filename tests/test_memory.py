"""Pipelines that place their parts by themselves: the same pictures, within a limit."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny import tiny_pipeline
from toprovar.memory.needs import Request
from toprovar.memory.parts import Parts
from toprovar.memory.request import Allowance
from toprovar.models.fp8 import is_quantized
from toprovar.pipeline_memory import MOST_RETRIES
from toprovar.planning import make_plan
from toprovar.sampling.lending import lent_of
from toprovar.sampling.params import EngineOptions
from toprovar.sampling.streaming import stream_of
from toprovar.schedules import get_schedule

SMALL = get_schedule("1.0", "0.06M")
DEEP: dict[str, Any] = {"depth": 4, "block_chunks": 2, "width": 256, "num_heads": 4}
FUSED = EngineOptions(fused=True)


def managed(memory: str, **changes: Any) -> Any:
    pipeline = tiny_pipeline(**changes)
    pipeline.manage_memory("cpu", memory)
    return pipeline


def least(images: int = 1, pictures: bool = False, **changes: Any) -> tuple[int, int]:
    """Peak of a run with nothing and with everything in host memory."""
    pipeline = managed("1TB", **changes)
    planner = pipeline.residency.planner(Request(SMALL, images, options=FUSED, pictures=pictures))
    whole = planner.choose(Allowance("exact"), 1 << 40)
    lowest = planner.choose(Allowance("exact"), 1)
    assert whole.fits and not lowest.fits
    return whole.peak, lowest.peak


@pytest.mark.parametrize("plan", [None, "fastvar", "toprovar"])
def test_pictures_do_not_depend_on_the_limit(plan: str | None) -> None:
    whole = tiny_pipeline(**DEEP)
    made = None if plan is None else make_plan(whole, plan, SMALL)
    expected = whole("a red cat", seed=3, plan=made, options=FUSED, output_type="latent")
    high, low = least(**DEEP)
    placements = set()
    for share in (1.1, 0.7, 0.4, 0.1):
        limit = int((low + share * (high - low)) * 1.05)
        pipeline = managed(f"{limit / 2**20:.6f}MB exact", **DEEP)
        for _ in range(2):
            found = pipeline("a red cat", seed=3, plan=made, options=FUSED, output_type="latent")
            assert torch.equal(found.images, expected.images)
        placement = pipeline.residency.plan.placement
        assert placement.tile is None and not placement.narrow_cache
        assert found.report.memory == str(pipeline.residency.plan)
        placements.add(placement)
    assert len(placements) >= (3 if plan is None else 2)


def test_what_waits_is_what_the_plan_says() -> None:
    high, low = least(**DEEP)
    pipeline = managed(f"{low * 1.05 / 2**20:.6f}MB", **DEEP)
    pipeline("a red cat", seed=3, options=FUSED, output_type="latent")
    own = pipeline.residency.plan.placement
    assert own.streamed == 4 and own.hosted > 0
    stream = stream_of(pipeline.transformer)
    assert stream is not None and len(stream.streamed) == own.streamed
    assert pipeline.residency.held() < high


def test_images_are_drawn_apart_where_together_they_do_not_fit() -> None:
    high, _ = least(1)
    whole, pipeline = tiny_pipeline(), managed(f"{high * 1.05 / 2**20:.6f}MB")
    expected = whole(["a cat", "a dog", "two cars"], seed=3, options=FUSED, output_type="latent")
    found = pipeline(["a cat", "a dog", "two cars"], seed=3, options=FUSED, output_type="latent",
                     negative_prompt=["red", "blue", "a photo"])
    assert len(found.reports) > 1
    found = pipeline(["a cat", "a dog", "two cars"], seed=3, options=FUSED, output_type="latent")
    assert [run.images for run in found.reports] != [3]
    assert (found.images - expected.images).abs().max() < 1e-3


def test_one_generator_is_not_shared_out() -> None:
    high, _ = least(1)
    pipeline = managed(f"{high * 1.2 / 2**20:.6f}MB")
    drawn = pipeline(["a cat", "a dog"], generator=torch.Generator().manual_seed(1),
                     options=FUSED, output_type="latent")
    assert [run.images for run in drawn.reports] == [2]


@pytest.mark.parametrize("stage", ["text", "scale", "callback", "decode"])
def test_memory_that_runs_out_is_not_the_end(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = tiny_pipeline(**DEEP)("a red cat", seed=3, options=FUSED, output_type="pt")
    pipeline = managed("1TB", **DEEP)
    seen: list[int] = []
    left = [1]

    def fail(*_: Any, **__: Any) -> None:
        if left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    calls = {"n": 0}

    def check() -> None:
        calls["n"] += 1
        if stage == "scale" and calls["n"] == 15:
            fail()

    if stage == "text":
        encode = pipeline.encode_prompt
        monkeypatch.setattr(pipeline, "encode_prompt",
                            lambda *a, **k: (fail(), encode(*a, **k))[1])
    if stage == "decode":
        decode = pipeline.vae.decode
        monkeypatch.setattr(pipeline.vae, "decode", lambda *a, **k: (fail(), decode(*a, **k))[1])

    def callback(_: Any, step: int, __: int, given: dict[str, Any]) -> dict[str, Any]:
        if stage == "callback" and step == 4 and left[0]:
            fail()
        return given

    peak = pipeline.residency.planner(Request(SMALL, 1, options=FUSED)).choose(
        pipeline.residency.allowance, 1 << 40).peak
    found = pipeline("a red cat", seed=3, options=FUSED, output_type="pt", check=check,
                     on_scale=lambda state: seen.append(state.index),
                     callback_on_step_end=callback)
    assert torch.equal(found.images, expected.images)
    assert pipeline.residency.retries == 1
    assert pipeline.residency.plan.peak < peak
    if stage != "callback":
        assert seen == list(range(7))
    assert any("ran out" in note for note in found.report.notes)


def test_memory_that_runs_out_again_and_again_ends_with_advice() -> None:
    pipeline = managed("1TB")

    def check() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    with pytest.raises(torch.OutOfMemoryError, match=r"does not fit.*a smaller size"):
        pipeline("a cat", seed=1, options=FUSED, check=check)
    assert pipeline.residency.retries <= MOST_RETRIES + 1
    assert pipeline("a cat", seed=1, options=FUSED).images


def test_what_cannot_fit_is_refused_at_once() -> None:
    pipeline = managed("300KB")
    with pytest.raises(torch.OutOfMemoryError, match=r"expected of 300 KB|expected of 0 MiB"):
        pipeline(["a cat", "a dog"], generator=torch.Generator().manual_seed(1), options=FUSED)


def test_eight_bits_are_used_only_where_they_are_allowed() -> None:
    _, low = least(**DEEP)
    tight = f"{low * 0.99 / 2**20:.6f}MB"
    with pytest.raises(torch.OutOfMemoryError, match="8-bit numbers"):
        managed(f"{tight} exact", **DEEP)("a cat", seed=1, options=FUSED, output_type="latent")
    found = managed(tight, **DEEP)("a cat", seed=1, options=FUSED, output_type="latent")
    assert any("a little off" in note for note in found.report.notes)


def test_moving_the_pipeline_ends_it() -> None:
    _, low = least(**DEEP)
    pipeline = managed(f"{low * 1.05 / 2**20:.6f}MB", **DEEP)
    before = pipeline("a red cat", seed=3, options=FUSED, output_type="latent").images
    pipeline.to("cpu")
    assert pipeline.residency is None and stream_of(pipeline.transformer) is None
    after = pipeline("a red cat", seed=3, options=FUSED, output_type="latent").images
    assert torch.equal(before, after)


def test_streamed_parts_are_saved_whole(tmp_path: Any) -> None:
    from toprovar.pipeline import InfinityPipeline

    _, low = least(**DEEP)
    pipeline = managed(f"{low * 1.05 / 2**20:.6f}MB", **DEEP)
    before = pipeline("a red cat", seed=3, options=FUSED, output_type="latent").images
    pipeline.save_pretrained(tmp_path)
    again = InfinityPipeline.from_folder(tmp_path)
    again.set_progress_bar_config(disable=True)
    assert torch.equal(before, again("a red cat", seed=3, options=FUSED,
                                        output_type="latent").images)


def test_parts_are_counted_once() -> None:
    pipeline = tiny_pipeline(**DEEP)
    parts = Parts.of(pipeline.transformer, pipeline.vae, pipeline.text_encoder,
                     torch.device("cpu"))
    whole = sum(p.nbytes for part in (pipeline.transformer, pipeline.vae, pipeline.text_encoder)
                for p in {id(p): p for p in (*part.parameters(), *part.buffers())}.values())
    assert parts.rest + 4 * parts.block + parts.vae + parts.text_rest \
        + parts.text_depth * parts.text_block == pytest.approx(whole, rel=0.01)


WIDE: dict[str, Any] = {"depth": 6, "block_chunks": 2, "width": 512, "num_heads": 8}


def lending() -> Any:
    """A pipeline whose decoder only fits where blocks make room for it."""
    high, _ = least(pictures=True, **WIDE)
    return managed(f"{0.9 * high / 2**20:.6f}MB exact", **WIDE)


@pytest.mark.parametrize("form", ["pt", "np", "pil"])
def test_blocks_make_room_for_the_decoder(form: str) -> None:
    expected = tiny_pipeline(**WIDE)("a red cat", seed=3, options=FUSED, output_type=form)
    pipeline = lending()
    for _ in range(2):
        found = pipeline("a red cat", seed=3, options=FUSED, output_type=form)
        assert np.array_equal(np.asarray(found.images[0]), np.asarray(expected.images[0]))
    lent = lent_of(pipeline.transformer)
    assert lent is not None and not lent.away and pipeline.residency.plan.placement.lent > 0
    assert pipeline.residency.retries == 0


def test_a_failed_decode_leaves_blocks_that_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = lending()
    expected = pipeline("a red cat", seed=3, options=FUSED, output_type="pt").images
    decode = pipeline.vae.decode

    def fail(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline.vae, "decode", fail)
    with pytest.raises(KeyboardInterrupt):
        pipeline("a red cat", seed=3, options=FUSED, output_type="pt")
    lent = lent_of(pipeline.transformer)
    assert lent is not None and lent.away
    monkeypatch.setattr(pipeline.vae, "decode", decode)
    again = pipeline("a red cat", seed=3, options=FUSED, output_type="pt").images
    assert torch.equal(again, expected) and not lent.away


def test_calls_of_several_threads_share_a_small_device() -> None:
    pipeline = lending()
    expected = [pipeline("a red cat", seed=seed, options=FUSED, output_type="pt").images
                for seed in range(4)]
    found: dict[int, torch.Tensor] = {}

    def work(seed: int) -> None:
        found[seed] = pipeline("a red cat", seed=seed, options=FUSED, output_type="pt").images

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[seed], expected[seed]) for seed in range(4))


def test_what_ran_out_once_is_no_reason_to_round_weights_for_good() -> None:
    pipeline = managed("1TB", **DEEP)
    left = [4]

    def check() -> None:
        if left[0]:
            left[0] -= 1
            raise torch.OutOfMemoryError("CUDA out of memory.")

    with suppress(torch.OutOfMemoryError):
        pipeline("a cat", seed=1, options=FUSED, check=check, output_type="latent")
    assert not is_quantized(pipeline.transformer)

"""A GPU whose memory is capped: runs fit, take what was foreseen, and leave nothing behind."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from toprovar.memory.plan import SPARE

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(),
                                                  reason="no CUDA device")]
GIB = 1 << 30
DEVICE = torch.device("cuda", 0)


@pytest.fixture(scope="module")
def subject() -> Any:
    """A model of 125M at 1024 px, whose cache is larger than its weights."""
    from benchmarks.gpu.models import build

    made = build("125m", DEVICE, torch.bfloat16, "1M")
    made.pipeline.to("cpu")
    return made


@pytest.fixture(scope="module")
def whole(subject: Any) -> Any:
    subject.pipeline.to(DEVICE)
    found = [np.asarray(picture(subject, seed).images[0]) for seed in range(3)]
    subject.pipeline.to("cpu")
    return found


@pytest.fixture
def cap() -> Iterator[Any]:
    def cap_at(gib: float) -> None:
        clean()
        total = torch.cuda.get_device_properties(DEVICE).total_memory
        torch.cuda.set_per_process_memory_fraction(gib * GIB / total, DEVICE)

    yield cap_at
    torch.cuda.set_per_process_memory_fraction(1.0, DEVICE)


def clean() -> None:
    gc.collect()
    torch.cuda.empty_cache()


def picture(subject: Any, seed: int, images: int = 1, **more: Any) -> Any:
    return subject.pipeline(["a red apple"] * images, seed=seed, schedule=subject.schedule, **more)


@pytest.mark.parametrize("gib", [3.5, 4.0, 6.0])
def test_capped_pictures_are_those_of_a_large_card(subject: Any, whole: Any, cap: Any, gib: float
                                                   ) -> None:
    pipeline = subject.pipeline
    cap(gib)
    pipeline.enable_model_cpu_offload(memory="exact")
    torch.cuda.reset_peak_memory_stats(DEVICE)
    for seed in range(3):
        assert np.array_equal(np.asarray(picture(subject, seed).images[0]), whole[seed])
    plan, peak = pipeline.residency.plan, torch.cuda.max_memory_allocated(DEVICE)
    reserved = torch.cuda.max_memory_reserved(DEVICE)
    assert plan.fits and peak <= plan.peak <= plan.available * (1 - SPARE)
    # What is foreseen holds what the allocator loses between pieces, too.
    assert 0.9 * reserved <= plan.peak <= 1.2 * reserved
    assert pipeline.residency.retries == 0
    assert picture(subject, 5).report.replayed_scales == 13
    pipeline.to("cpu")
    clean()
    assert torch.cuda.memory_allocated(DEVICE) < 64 << 20


def test_memory_that_somebody_takes_meanwhile(subject: Any, whole: Any, cap: Any) -> None:
    """Another program takes memory between two scales; the picture is the same."""
    pipeline = subject.pipeline
    cap(6.0)
    pipeline.enable_model_cpu_offload(memory="exact")
    taken: list[torch.Tensor] = []

    def take(state: Any) -> None:
        if state.index == 5 and not taken:
            clean()
            free = int(6.0 * GIB) - torch.cuda.memory_reserved(DEVICE)
            taken.append(torch.empty(max(0, free - (96 << 20)), dtype=torch.uint8, device=DEVICE))

    found = picture(subject, 0, on_scale=take)
    assert np.array_equal(np.asarray(found.images[0]), whole[0])
    assert pipeline.residency.retries >= 1
    taken.clear()
    assert np.array_equal(np.asarray(picture(subject, 1).images[0]), whole[1])
    pipeline.to("cpu")


def test_a_card_that_is_too_small_says_so_and_stays_usable(subject: Any, cap: Any) -> None:
    pipeline = subject.pipeline
    cap(6.0)
    pipeline.manage_memory(DEVICE, "700MB exact")
    with pytest.raises(torch.OutOfMemoryError, match=r"expected of .*What helps"):
        picture(subject, 0)
    pipeline.manage_memory(DEVICE, "exact")
    assert picture(subject, 0).images
    pipeline.to("cpu")


def test_eight_at_once(subject: Any, cap: Any) -> None:
    pipeline = subject.pipeline
    cap(4.0)
    pipeline.enable_model_cpu_offload(memory="exact")
    found = picture(subject, 0, images=8)
    assert len(found.images) == 8 and pipeline.residency.retries == 0
    assert sum(run.images for run in found.reports) == 8
    pipeline.to("cpu")

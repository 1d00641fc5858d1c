"""Memory that is counted before a run is what the run takes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tiny import tiny_autoencoder, tiny_pipeline
from toprovar.memory.needs import FEATURE_MAPS, Counts, Request, picture_bytes
from toprovar.planning import make_plan
from toprovar.schedules import get_schedule
from toprovar.sparsity.plan import SparsityPlan

SMALL = get_schedule("1.0", "0.06M")


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return tiny_pipeline()


def counts(pipeline: Any, pn: str = "0.06M", **about: Any) -> Counts:
    request = Request(get_schedule("1.0", pn), 1, **about)
    return Counts(pipeline.transformer, pipeline.vae, request, on_gpu=False)


@pytest.mark.parametrize(("plan", "cfg"), [("dense", 3.0), ("dense", 1.0), ("fastvar", 3.0)])
def test_the_cache_is_that_of_the_run(pipeline: Any, plan: str, cfg: float) -> None:
    made = make_plan(pipeline, plan, SMALL)
    assert isinstance(made, SparsityPlan)
    done = pipeline("a red apple", seed=0, schedule=SMALL, plan=made, guidance_scale=cfg,
                    output_type="latent")
    foreseen = counts(pipeline, plan=made, guided=cfg != 1.0).cache(1)
    assert foreseen == (done.report.kv_bytes, 0)


def test_a_plan_and_a_narrow_cache_need_less(pipeline: Any) -> None:
    whole = counts(pipeline)
    width = pipeline.transformer.compute_dtype.itemsize
    assert whole.cache(1)[0] == width * whole.cache(1, narrow=True)[0]
    plan = make_plan(pipeline, "fastvar", SMALL)
    assert isinstance(plan, SparsityPlan)
    assert counts(pipeline, plan=plan).cache(1)[0] < whole.cache(1)[0]


def test_what_grows_with_images_and_size(pipeline: Any) -> None:
    small, large = counts(pipeline), counts(pipeline, "0.25M")
    assert small.cache(4)[0] == 4 * small.cache(1)[0]
    assert large.cache(1)[0] > 2 * small.cache(1)[0]
    assert large.scratch(1) > 2 * small.scratch(1)
    assert large.picture() > 2 * small.picture()


def test_a_picture() -> None:
    net, pixels = tiny_autoencoder(), 16 * 32
    put_together = 2 * 4 * 3 * pixels
    whole = picture_bytes(net, 16, 32) - put_together
    assert whole == FEATURE_MAPS * net.shape.base_channels * pixels * 4
    assert 2 * (picture_bytes(tiny_autoencoder().bfloat16(), 16, 32) - put_together) == whole
    assert picture_bytes(net, 512, 512, tile=8) < picture_bytes(net, 512, 512)

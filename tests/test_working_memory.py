"""Memory that is asked for before a run is what the run takes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tiny import tiny_autoencoder, tiny_pipeline, tiny_transformer
from toprovar.planning import make_plan
from toprovar.schedules import get_schedule
from toprovar.sparsity.plan import SparsityPlan
from toprovar.working_memory import FEATURE_MAPS, cache_bytes, picture_bytes, run_bytes

SMALL = get_schedule("1.0", "0.06M")


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return tiny_pipeline()


@pytest.mark.parametrize(("plan", "cfg"), [("dense", 3.0), ("dense", 1.0), ("fastvar", 3.0)])
def test_the_cache_is_that_of_the_run(pipeline: Any, plan: str, cfg: float) -> None:
    made = make_plan(pipeline, plan, SMALL)
    assert isinstance(made, SparsityPlan)
    done = pipeline("a red apple", seed=0, schedule=SMALL, plan=made, guidance_scale=cfg,
                    output_type="latent")
    rows = 1 if cfg == 1.0 else 2
    assert cache_bytes(pipeline.transformer, SMALL, rows, made) == done.report.kv_bytes


def test_a_plan_and_a_narrow_cache_need_less(pipeline: Any) -> None:
    net = pipeline.transformer
    whole, narrow = (cache_bytes(net, SMALL, 2, narrow_cache=n) for n in (False, True))
    assert whole == net.compute_dtype.itemsize * narrow
    plan = make_plan(pipeline, "fastvar", SMALL)
    assert isinstance(plan, SparsityPlan)
    assert run_bytes(net, SMALL, 2, plan) < run_bytes(net, SMALL, 2)


def test_what_grows_with_rows_and_size() -> None:
    net = tiny_transformer()
    assert run_bytes(net, SMALL, 4) == 4 * run_bytes(net, SMALL, 1)
    assert run_bytes(net, SMALL, 1) > cache_bytes(net, SMALL, 1)
    assert run_bytes(net, get_schedule("1.0", "0.25M"), 1) > 2 * run_bytes(net, SMALL, 1)


def test_a_picture() -> None:
    net = tiny_autoencoder()
    assert picture_bytes(net, 16, 32) == FEATURE_MAPS * net.shape.base_channels * 16 * 32 * 4
    half = tiny_autoencoder().bfloat16()
    assert 2 * picture_bytes(half, 16, 32) == picture_bytes(net, 16, 32)

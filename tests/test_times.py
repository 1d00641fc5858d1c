"""What runs took, and what a dense one would."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.tiny import random_text, tiny_pipeline, tiny_transformer
from toprovar.models.config import TransformerConfig
from toprovar.sampling.params import SamplingParams
from toprovar.sampling.report import RunReport
from toprovar.sampling.run import SamplingRun
from toprovar.schedules import get_schedule
from toprovar.sparsity.cost import WorkTable
from toprovar.sparsity.plan import SparsityPlan, dense_plan
from toprovar.sparsity.strategies.skipvar.policies import skipvar_plan
from toprovar.sparsity.strategies.toprovar.before import toprovar_plan
from toprovar.sparsity.strategies.toprovar.settings import ToProVarSettings
from toprovar.times import LIMIT, SLOWER, Kind, Times, foreseen_dense

MODEL = tiny_transformer()
SHAPE: TransformerConfig = MODEL.shape
SCHEDULE = get_schedule("1.0", "0.06M")
KIND = Kind.of("here", SCHEDULE, 1, True)
DENSE = dense_plan(SHAPE, SCHEDULE)
PRIOR = toprovar_plan(SHAPE, SCHEDULE, ToProVarSettings())


def report(plan: SparsityPlan, seconds: float = 0.0, recorded: int = 0) -> RunReport:
    own = SamplingRun(MODEL, random_text(5), SamplingParams(SCHEDULE, 3.0, 0.7), plan=plan)
    list(own)
    return replace(own.report(), seconds={"scales": seconds}, recorded_scales=recorded)


def as_if(plan: SparsityPlan, base: float, slope: float) -> RunReport:
    """The report of a run whose scales take ``base`` plus ``slope`` a FLOP."""
    found = report(plan)
    flops = WorkTable.of(plan).scale_flops(SHAPE)
    scales = tuple(replace(s, seconds=base + slope * f if s.run else 0.0)
                   for s, f in zip(found.scales, flops, strict=True))
    return replace(found, scales=scales, seconds={"scales": sum(s.seconds for s in scales)})


@pytest.mark.parametrize("plan", [
    PRIOR, skipvar_plan(SHAPE, SCHEDULE, 2), skipvar_plan(SHAPE, SCHEDULE, 0, 3),
], ids=["prior", "skip", "off"])
def test_dense_is_foreseen_from_full_scales(plan: SparsityPlan) -> None:
    for base, slope in ((1e-3, 1e-10), (0.0, 1e-9), (1e-2, 1e-12)):
        wanted = as_if(DENSE, base, slope).seconds["scales"]
        assert foreseen_dense(as_if(plan, base, slope), SHAPE) == pytest.approx(wanted, rel=1e-6)


def test_what_cannot_be_foreseen_is_not() -> None:
    all_sparse = toprovar_plan(SHAPE, SCHEDULE, ToProVarSettings(
        dropped="cached", start_scale=1, tile=1, region=0))
    assert foreseen_dense(as_if(all_sparse, 1e-3, 1e-10), SHAPE) is None
    cut_off = as_if(PRIOR, 1e-3, 1e-10)
    assert foreseen_dense(replace(cut_off, scales=cut_off.scales[:3]), SHAPE) is None
    assert foreseen_dense(replace(cut_off, used_plan=None), SHAPE) is None


def test_first_and_recording_runs_do_not_count() -> None:
    times = Times()
    for seconds, recorded in ((9.0, 0), (8.0, 7), (1.0, 0), (3.0, 0), (2.0, 0)):
        times.learn(KIND, report(PRIOR, seconds, recorded))
    assert times.seconds(KIND, PRIOR) == 2.0
    assert times.seconds(Kind.of("there", SCHEDULE, 1, True), PRIOR) is None
    assert times.dense(KIND) is None
    stopped = report(PRIOR, 0.1)
    times.learn(KIND, replace(stopped, scales=stopped.scales[:2]))
    assert times.seconds(KIND, PRIOR) == 2.0


def test_a_plan_is_slower_only_when_both_are_known_well() -> None:
    times = Times()
    for _ in range(3):
        times.learn(KIND, report(PRIOR, 1.1))
    assert times.slower(KIND, PRIOR) is None
    for _ in range(2):
        times.learn(KIND, report(DENSE, 1.0))
    assert times.slower(KIND, PRIOR) is None  # one steady dense run
    times.learn(KIND, report(DENSE, 1.0))
    assert times.slower(KIND, PRIOR) == (1.1, 1.0)
    for _ in range(20):
        times.learn(KIND, report(PRIOR, SLOWER - 0.01))
    assert times.slower(KIND, PRIOR) is None
    assert times.slower(KIND, DENSE) is None


def test_the_report_has_dense_beside_it() -> None:
    times = Times()
    own = as_if(PRIOR, 1e-3, 1e-10)
    foreseen = times.compared(KIND, own, SHAPE)
    assert not foreseen.dense_measured
    assert foreseen.dense_seconds == pytest.approx(as_if(DENSE, 1e-3, 1e-10).seconds["scales"])
    for _ in range(3):
        times.learn(KIND, report(DENSE, 0.001))
        times.learn(KIND, own)
    measured = times.compared(KIND, own, SHAPE)
    assert measured.dense_measured and measured.dense_seconds == 0.001
    assert any("slower than dense here" in note for note in measured.notes)
    assert measured.to_json()["dense_seconds"] == 0.001
    assert times.compared(KIND, report(DENSE, 1.0), SHAPE).dense_seconds is None


def test_few_kinds_are_remembered() -> None:
    times, one = Times(), report(PRIOR, 1.0)
    for place in range(2 * LIMIT):
        times.learn(Kind.of(place, SCHEDULE, 1, True), one)
    assert len(times._known) == LIMIT


def test_a_pipeline_learns_from_its_pictures() -> None:
    pipe = tiny_pipeline()
    plan = skipvar_plan(pipe.transformer.shape, SCHEDULE, 1)
    for _ in range(3):
        pipe("a dog", seed=1, schedule=SCHEDULE, output_type="latent")
        done = pipe("a dog", seed=1, schedule=SCHEDULE, plan=plan, output_type="latent")
    assert done.report.dense_measured and done.report.dense_seconds
    assert done.reports[0].dense_seconds == done.report.dense_seconds
    one = pipe("a dog", seed=1, schedule=SCHEDULE, plan=plan, num_images_per_prompt=2,
               output_type="latent")
    assert not one.report.dense_measured  # two at once are another kind

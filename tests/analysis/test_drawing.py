"""Pictures of several plans against the dense one, whichever is done first."""

from __future__ import annotations

import time

import pytest
import torch

from tests.tiny import tiny_pipeline
from toprovar.analysis.choices import State, choice_plan
from toprovar.analysis.drawing import Drawing, OutOfTimeError
from toprovar.entropy.trace import TraceRecorder
from toprovar.evaluation.metrics import likeness, ssim
from toprovar.schedules import get_schedule

SCHEDULE = get_schedule("1.0", "0.06M")
JOBS = [("a red apple", 3), ("two cats", 4)]
PIPELINE = tiny_pipeline()
SHAPE = PIPELINE.transformer.shape
PLANS = [choice_plan(SHAPE, SCHEDULE, *state) for state in
         (State(7, (5, 6)), State(7), State(5), State(7, (6,)))]


@pytest.mark.parametrize("looked_at", [False, True])
def test_likeness_is_that_of_the_pipelines_pictures(looked_at: bool) -> None:
    drawing = Drawing(PIPELINE, SCHEDULE, JOBS)
    if looked_at:
        drawing.look(1, TraceRecorder())
    found = drawing.compared(PLANS, 1)
    dense = PIPELINE("two cats", seed=4, schedule=SCHEDULE, output_type="pt").images.clamp(0, 1)
    for plan, (alike, similar) in zip(PLANS, found, strict=True):
        own = PIPELINE("two cats", seed=4, schedule=SCHEDULE, plan=plan,
                       output_type="pt").images.clamp(0, 1)
        assert alike == pytest.approx(float(likeness(own, dense)), abs=2e-3)  # kept as halves
        assert similar == pytest.approx(float(ssim(own, dense)), abs=2e-3)
    assert found[1] == (1.0, 1.0)
    assert drawing.compared(PLANS, 1) == found


def test_unfinished_pictures() -> None:
    drawing = Drawing(PIPELINE, SCHEDULE, JOBS)
    trace, alike = drawing.look(0, TraceRecorder())
    assert trace.about.prompts == ("a red apple",) and trace.about.seeds == (3,)
    assert [a is None for a in alike] == [True] * 4 + [False] * 3
    exits = [choice_plan(SHAPE, SCHEDULE, 7, tuple(range(s, 7))) for s in (4, 5, 6)]
    expected = [value for _, value in drawing.compared(exits, 0)]
    torch.testing.assert_close(torch.tensor(alike[4:]), torch.tensor(expected))


def test_out_of_time_only_while_pictures_are_left() -> None:
    drawing = Drawing(PIPELINE, SCHEDULE, JOBS, deadline=time.monotonic() - 1)
    drawing.look(0, TraceRecorder())
    assert len(drawing.compared(PLANS[:1], 0)) == 1
    with pytest.raises(OutOfTimeError):
        drawing.compared(PLANS, 0)
    assert drawing.work.pictures > 2 and drawing.work.alone > drawing.work.run

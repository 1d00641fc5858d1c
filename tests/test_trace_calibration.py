"""A plan's calibration from a trace alone."""

from __future__ import annotations

import pytest

from tests.entropy.make import DEPTH, SCHEDULE, make_trace
from toprovar.analysis import trace_calibration as module
from toprovar.analysis.trace_calibration import trace_calibration
from toprovar.entropy.calibration import Calibration
from toprovar.entropy.statistics import start_scale
from toprovar.entropy.summary import rho_table, summarise
from toprovar.sparsity.strategies.toprovar.in_run import PAPER_TAU


def test_scores_are_those_of_the_trace() -> None:
    trace = make_trace()
    summary = summarise(trace)
    found = trace_calibration(trace, summary)
    assert found.model == "test" and found.depth == DEPTH and found.prompts == trace.images
    assert found.name == "trace of prompt 0, prompt 1, prompt 2"
    entry, notes = found.entry(SCHEDULE)
    assert notes == () and entry.layer_scores == summary.fit.layer_scores
    assert entry.layer_classes == summary.fit.layer_classes
    assert entry.representative_scale == summary.representative
    assert len(entry.scales) == len(SCHEDULE)
    assert Calibration.from_json(found.to_json()) == found


def test_without_a_calibration_of_the_model_rho_says_where_to_start() -> None:
    trace = make_trace()
    found = trace_calibration(trace, summarise(trace))
    rhos = rho_table(trace).nanmean(0).tolist()
    assert found.main.start_scale == start_scale(rhos, PAPER_TAU, "rising", first=1)
    assert str(PAPER_TAU) in found.main.start_reason
    assert (found.tau, found.crossing, found.dropped) == (PAPER_TAU, "rising", "identity")


def test_what_a_trace_cannot_tell_is_the_models_own(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = make_trace()
    summary = summarise(trace)
    plain = trace_calibration(trace, summary)
    own = plain.main.model_copy(update={"start_scale": 4, "start_reason": "measured",
                                        "unconditional_off": 2})
    known = plain.model_copy(update={"entries": {own.pn: own}, "dropped": "exit", "tau": 0.6})
    monkeypatch.setattr(module, "find_calibration", lambda model, pn=None: known)
    found = trace_calibration(trace, summary)
    assert found.main.start_scale == 4 and found.main.start_reason == "measured"
    assert found.main.unconditional_off == 2 and found.dropped == "exit" and found.tau == 0.6

"""Calibrating: in little time, again, interrupted; and what is concluded from measurements."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import tiny_pipeline
from toprovar.analysis import Calibrator, Progress, Result, fitting_jobs
from toprovar.analysis.calibration_files import (
    forget_progress,
    load_progress,
    progress_folder,
    result_file,
    save_progress,
    save_result,
)
from toprovar.analysis.conclusions import selection_of, unconditional_off, way_of
from toprovar.analysis.findings import Findings, ScheduleFindings, jobs_hash
from toprovar.entropy.calibration import Calibration, find_calibration
from toprovar.models.fingerprint import model_fingerprint
from toprovar.planning import make_plan
from toprovar.schedules import get_schedule

SCHEDULE = get_schedule("1.0", "0.06M")
PROMPTS = ["a red apple", "two cats", "a dog on the left", "a blue car"]
JOBS = [(p, 0) for p in PROMPTS]


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return tiny_pipeline()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOPROVAR_CACHE", str(tmp_path / "cache"))


def calibrator(pipeline: Any, **how: Any) -> Calibrator:
    how.setdefault("jobs", JOBS)
    how.setdefault("fit_jobs", fitting_jobs(PROMPTS, [0], 6))
    how.setdefault("target_ssim", 0.5)
    return Calibrator(pipeline, schedules=[SCHEDULE], name="tiny", **how)


def exits(result: Result) -> bool:
    assert result.calibration is not None
    return result.calibration.dropped == "exit"


def test_a_whole_calibration_and_what_is_told(pipeline: Any) -> None:
    told: list[Progress] = []
    results: list[Result] = []
    found = calibrator(pipeline, on_progress=told.append, on_result=results.append).run()
    assert found.calibration is not None and found.findings.pictures == found.work.pictures > 20
    assert told[-1].part == "done" and told[-1].share == 1.0
    assert [p.share for p in told] == sorted(p.share for p in told)
    assert {p.pictures for p in told} > {0} and all(p.left is None for p in told[:-1])
    # From the first result on there is a calibration, and each can be saved.
    assert all(r.calibration is not None for r in results) and len(results) >= 2
    json.dumps(results[0].calibration.to_json())  # type: ignore[union-attr]  # just asserted


def test_with_next_to_no_time_there_is_a_calibration(pipeline: Any) -> None:
    told: list[Progress] = []
    found = calibrator(pipeline, minutes=1e-4, on_progress=told.append).run()
    assert found.calibration is not None and len(found.calibration.main.layer_scores) == 3
    entry = found.findings.schedules["0.06M"]
    assert entry.looked_at == 1 and len(entry.unguided) == 1
    assert found.findings.seconds < 60 and told[0].left is not None


def test_going_on_from_earlier_measurements(pipeline: Any, tmp_path: Path) -> None:
    first = calibrator(pipeline, minutes=1e-4).run()
    save_progress(first)
    fresh = Findings.begin(model_fingerprint(pipeline.transformer), jobs_hash(JOBS, None, None),
                           [SCHEDULE])
    begun, shortcuts = load_progress(fresh)
    assert begun == first.findings
    before = [list(t.likeness) for t in first.findings.schedules["0.06M"].tried]
    second = calibrator(pipeline, begun=begun, shortcuts=shortcuts).run()
    assert second.findings.pictures > first.findings.pictures
    entry = second.findings.schedules["0.06M"]
    assert entry.looked_at == len(entry.unguided) == len(JOBS)
    ways = first.findings.schedules["0.06M"].ways
    assert all(entry.ways[way][:1] == ways[way] for way in ways)  # not measured again
    assert all(list(t.likeness)[: len(old)] == old
               for t, old in zip(entry.tried, before, strict=False) if not t.shortcuts)
    # Whole measurements leave nothing to do.
    pictures = second.findings.pictures
    third = calibrator(pipeline, begun=second.findings, shortcuts=second.all_shortcuts).run()
    assert third.findings.pictures <= pictures + len(JOBS)
    assert third.calibration is not None and second.calibration is not None
    assert third.calibration.entries == second.calibration.entries
    forget_progress(fresh)
    assert load_progress(fresh) == (None, None)


def test_other_pictures_are_not_gone_on_from(pipeline: Any) -> None:
    found = calibrator(pipeline, minutes=1e-4).run()
    save_progress(found)
    for jobs in ([("another", 0)], [(p, 1) for p in PROMPTS]):
        wanted = Findings.begin(found.findings.model, jobs_hash(jobs, None, None), [SCHEDULE])
        assert load_progress(wanted) == (None, None)
        with pytest.raises(ValueError, match="other pictures"):
            calibrator(pipeline, jobs=jobs, begun=found.findings)


def test_damaged_measurements_are_passed_over(pipeline: Any, caplog: Any) -> None:
    found = calibrator(pipeline, minutes=1e-4).run()
    save_progress(found)
    wanted = found.findings
    (progress_folder(wanted) / "findings.json").write_text("{")
    assert load_progress(wanted) == (None, None)
    assert "not gone on from" in caplog.text


def test_an_interrupt_keeps_what_was_found(pipeline: Any) -> None:
    calls = [0]

    def check() -> None:
        calls[0] += 1
        if calls[0] == 400:
            raise KeyboardInterrupt

    own = calibrator(pipeline, check=check)
    with pytest.raises(KeyboardInterrupt):
        own.run()
    found = own.result()
    assert found.calibration is not None
    again = calibrator(pipeline, begun=found.findings, shortcuts=found.all_shortcuts).run()
    assert again.calibration is not None and again.findings.pictures > found.findings.pictures


def test_results_are_found_by_everybody(pipeline: Any) -> None:
    fingerprint = model_fingerprint(pipeline.transformer)
    assert find_calibration(fingerprint) is None
    found = calibrator(pipeline, minutes=0.02).run()
    path = result_file("my model/2B", fingerprint, [SCHEDULE])
    assert path.name == f"my-model-2B-{fingerprint[-8:]}-0.06M.json"
    written = save_result(found, path)
    assert written[0] == path and all(p.is_file() for p in written)
    assert Calibration.load(path) == found.calibration == find_calibration(fingerprint)
    if exits(found):
        plan: Any = make_plan(pipeline, "toprovar", SCHEDULE, budget=0.4)
        assert plan.provenance["calibration"] == "tiny"


def test_nothing_measured_is_no_calibration(pipeline: Any, tmp_path: Path) -> None:
    own = calibrator(pipeline)
    assert own.result().calibration is None
    with pytest.raises(ValueError, match="nothing was measured"):
        save_result(own.result(), tmp_path / "c.json")
    assert not list(tmp_path.glob("*.json"))


def findings(**fields: Any) -> ScheduleFindings:
    return ScheduleFindings(pn="0.06M", template="1.0", **fields)


def rules(entropy: list[float], chance: list[float]) -> ScheduleFindings:
    return findings(rules={"entropy": entropy, "random": chance},
                    spared=((7, (), ()), (7, (6,), ()), 0.5))


@pytest.mark.parametrize(("gains", "rule", "decided"), [
    ([0.02, 0.021, 0.019, 0.02], "entropy", True),
    ([0.0001, -0.0001, 0.0002, -0.0002], "random", True),
    ([-0.02, -0.019, -0.021, -0.02], "random", True),
    ([0.05, -0.04, 0.03, -0.02], "entropy", False),
    ([0.02], "entropy", False),
])
def test_what_entropy_is_worth(gains: list[float], rule: str, decided: bool) -> None:
    worth = selection_of(rules([0.9 + g for g in gains], [0.9] * len(gains)))
    assert worth is not None and (worth.rule, worth.decided) == (rule, decided)
    assert worth.gain == pytest.approx(sum(gains) / len(gains), abs=1e-5)
    assert worth.pictures == len(gains) and (worth.half_width is None) == (len(gains) < 2)


@pytest.mark.parametrize(("cached", "way"), [
    ([], "exit"), ([0.99], "exit"), ([0.95, 0.91], "exit"), ([0.86, 0.87, 0.85, 0.86], "exit"),
    ([0.95, 0.94, 0.96, 0.95], "cached"),
])
def test_dropped_tokens_exit_unless_another_way_is_surely_better(cached: list[float], way: str
                                                                  ) -> None:
    measured = findings(ways={"exit": [0.9] * len(cached), "cached": cached,
                              "identity": [0.8] * len(cached)} if cached else {})
    assert way_of(Findings(model="m", jobs="j", schedules={"0.06M": measured})) == way


def test_guidance_is_given_up_while_half_of_the_tolerance_is_left() -> None:
    assert unconditional_off(findings(unguided=[[0.95, 0.92, 0.5], [0.97, 0.86, 0.9]]), 0.8) == 1
    assert unconditional_off(findings(unguided=[[0.95, 0.95], [0.97, 0.97]]), 0.8) == 2
    assert unconditional_off(findings(), 0.8) == 0


def test_findings_have_no_numbers_that_json_has_not() -> None:
    with pytest.raises(ValueError, match="finite"):
        findings(ways={"exit": [math.nan]})


def test_of_several_the_one_that_was_measured_at_the_size(pipeline: Any, tmp_path: Path) -> None:
    fingerprint = model_fingerprint(pipeline.transformer)
    found = calibrator(pipeline, minutes=1e-4, fit_jobs=()).run()
    assert found.calibration is not None
    entry = found.calibration.main
    other = found.calibration.model_copy(update={
        "name": "other", "entries": {"0.25M": entry.model_copy(update={"pn": "0.25M"})}})
    save_result(found, result_file("b", fingerprint, [SCHEDULE]))
    other.save(result_file("a", fingerprint, [SCHEDULE]))  # is found first
    names = [getattr(find_calibration(fingerprint, pn=pn), "name", None)
             for pn in ("0.06M", "0.25M", "1M", None)]
    assert names == ["tiny", "other", "other", "other"]


def test_one_that_knows_no_choices_yet_leaves_plans_to_the_prior(pipeline: Any) -> None:
    fingerprint = model_fingerprint(pipeline.transformer)
    before: Any = make_plan(pipeline, "toprovar", SCHEDULE, budget=0.5)
    found = calibrator(pipeline, minutes=1e-4, dropped="exit").run()
    assert found.calibration is not None and found.calibration.unfinished
    save_result(found, result_file("tiny", fingerprint, [SCHEDULE]))
    assert find_calibration(fingerprint) is not None
    assert make_plan(pipeline, "toprovar", SCHEDULE, budget=0.5) == before
    whole = calibrator(pipeline, dropped="exit", fit_jobs=()).run()
    assert whole.calibration is not None and not whole.calibration.unfinished
    save_result(whole, result_file("tiny", fingerprint, [SCHEDULE]))
    plan: Any = make_plan(pipeline, "toprovar", SCHEDULE, budget=0.5)
    assert plan.provenance["calibration"] == "tiny"


def test_a_result_saves_itself(pipeline: Any, tmp_path: Path) -> None:
    found = calibrator(pipeline, dropped="exit").run()
    written = found.save(tmp_path / "new" / "own.json")
    assert written[0] == tmp_path / "new" / "own.json" and all(path.is_file() for path in written)
    assert Calibration.load(written[0]) == found.calibration
    assert len(written) == 1 + bool(found.shortcuts)

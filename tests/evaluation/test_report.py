"""Shares, intervals and agreement."""

from __future__ import annotations

import json

import pytest

from toprovar.evaluation.compositional import ObjectSpec, PromptSpec, Result, Verdict, summarise
from toprovar.evaluation.compositional.report import wilson
from training.judge.validation import kappa

SINGLE = PromptSpec("single", "a cat", (ObjectSpec("cat"),))
MANY = PromptSpec("counting", "two cats", (ObjectSpec("cat", count=2),))


def results(single, many):
    return [
        Result(prompt, (), Verdict(passed))
        for prompt, marks in ((SINGLE, single), (MANY, many)) for passed in marks
    ]


def test_wilson_against_published_values():
    # Newcombe 1998, table I: 81 of 263 and 0 of 20.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    with pytest.raises(ValueError, match="no share"):
        wilson(3, 2)


def test_each_task_weighs_the_same():
    found = summarise(results([True] * 4, [False] * 16))
    assert found.overall == 0.5
    assert found.tasks["single"].value == 1.0
    assert (found.tasks["counting"].passed, found.tasks["counting"].total) == (0, 16)


def test_interval_holds_the_mean_and_is_the_same_every_time():
    found = summarise(results([True, False] * 20, [True] * 30 + [False] * 10))
    assert found.low < found.overall < found.high
    assert found.high - found.low < 0.25
    assert found == summarise(results([True, False] * 20, [True] * 30 + [False] * 10))
    json.dumps(found.to_json())


def test_nothing_to_report_is_an_error():
    with pytest.raises(ValueError, match="no results"):
        summarise([])


def test_kappa():
    assert kappa([True, False, True], [True, False, True]) == 1.0
    assert kappa([True, True, False, False], [True, False, True, False]) == 0.0
    # 20 both, 15 neither, 5 and 10 alone: the textbook example, 0.4.
    a = [True] * 25 + [False] * 25
    b = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    assert kappa(a, b) == pytest.approx(0.4)

"""Projected cards: the committed result is what is computed, and the formula is the page's."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.gpu.roofline import Work
from benchmarks.projection import (
    DENSE,
    FITTED,
    GPU,
    IDEAL,
    PROJECTED,
    RESULT,
    Job,
    Shares,
    fitted,
    job,
    predicted,
    project,
    read_cards,
    rounded,
    summary,
)

FOUND: dict[str, Any] = json.loads(RESULT.read_text("utf-8"))
GPU_RESULT: dict[str, Any] = json.loads(GPU.read_text("utf-8"))
CARD = {"tensor": 100.0, "memory": 10.0}


def test_the_result_is_what_is_computed_now() -> None:
    assert rounded(project()) == FOUND


def test_the_formula() -> None:
    """One scale of many operations, one of many bytes, one that is not run."""
    todo = Job(text=Work(0.0, 10.0), scales=(Work(0.0, 20.0), Work(400.0, 1.0), Work(0.0, 0.0)),
               layers=(3, 2, 0), sides=(1, 32, 64), decoder=Work(100.0, 0.0))
    shares = Shares(memory=0.5, launch=0.25, scale=0.8, decoder=0.4, preparation=1.0, text=7.0)
    found = predicted(todo, CARD, shares)
    assert found["text"] == 7 + 10 / 5
    assert found["early"] == 2 * (3 * 0.25 + 20 / 5)
    assert found["middle"] == 0
    assert found["late"] == 2 * 0.25 + 400 / 80
    assert found["decoder"] == pytest.approx(100 / 40)
    assert found["scales"] == found["early"] + found["late"]
    assert found["picture"] == pytest.approx(found["text"] + found["scales"] + found["decoder"])
    assert predicted(todo, CARD, IDEAL)["picture"] == 1 + 2 + 4 + 1


def test_shares_are_found_again() -> None:
    """A machine that follows the formula exactly is fitted exactly."""
    card = read_cards()[FITTED]
    shares = Shares(memory=0.8, launch=5e-5, scale=0.6, decoder=0.5, preparation=0.7, text=5e-3)
    todo = job("2b", "1M", DENSE)
    times = {"text": predicted(todo, card, shares)["text"],
             "decode": predicted(todo, card, shares)["decoder"]}
    for i in range(len(todo.scales)):
        alone = replace(todo, scales=todo.scales[i : i + 1], layers=todo.layers[i : i + 1],
                        sides=todo.sides[i : i + 1])
        own = shares if i == 0 else replace(shares, preparation=0.0)
        times[f"scale {i}"] = predicted(alone, card, own)["scales"]
    gpu = {"runs": [{"ceilings": {"bytes_per_second": 0.8 * card["memory"]}}],
           "sections": {"dense": {"run": 0, "rows": [{"name": "dense, graphs", "stages": times}]}}}
    assert vars(fitted(gpu, card)) == pytest.approx(vars(shares), rel=1e-3)


def test_counts_are_those_that_the_machine_recorded() -> None:
    rows = GPU_RESULT["sections"]["dense"]["rows"]
    recorded = next(row for row in rows if row["name"] == "dense, graphs")["roofline"]
    todo = job("2b", "1M", DENSE)
    for i, work in enumerate(todo.scales):
        assert work.flops == pytest.approx(recorded[f"scale {i}"]["flops"], rel=1e-3)
        assert work.bytes == pytest.approx(recorded[f"scale {i}"]["bytes"], rel=1e-3)
    assert todo.decoder.flops == pytest.approx(recorded["decode"]["flops"], rel=1e-3)
    assert todo.text.bytes == pytest.approx(recorded["text"]["bytes"], rel=1e-3)


def test_nothing_that_was_fitted_counts_as_a_test() -> None:
    tested = [row for row in FOUND["stages"] if not row["fitted"]]
    assert len(FOUND["stages"]) == len(tested) + 1
    assert FOUND["errors"]["other stages of the H100"]["count"] == 5 * len(tested)
    assert sum(FOUND["errors"][f"pictures on the {card}"]["count"] for card in ("H100", "H200")) \
        == len(FOUND["pictures"])


def test_no_projection_beats_the_vendors_rates() -> None:
    for row in FOUND["projections"]:
        assert row["plans"][DENSE]["picture"] > row["least"]
    assert {row["card"] for row in FOUND["projections"]} == set(PROJECTED)
    unfit = {(row["card"], row["model"]) for row in FOUND["projections"] if not row["fits"]}
    assert unfit == {("RTX3060", "2b"), ("RTX3060", "8b"), ("RTX4090", "8b")}


def test_errors_are_summed_up_by_size() -> None:
    assert summary([0.1, -0.3, 0.2]) == {"median": 0.2, "largest": -0.3, "count": 3}

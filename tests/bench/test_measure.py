"""The rounds, with a clock of the test's own."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch

from tests.tiny import tiny_pipeline
from toprovar.bench.measure import ACCELERATED, DENSE, Bench, Drawn, Limit, Measured, prompts_for
from toprovar.bench.result import Picture
from toprovar.bench.session import bench
from toprovar.bench.subjects import Loaded, load_shape
from toprovar.bench.words import in_words, notes
from toprovar.models import variants
from toprovar.models.random_models import WORDS
from toprovar.schedules import get_schedule

SCHEDULE = get_schedule("1.0", "0.06M")


class Clock:
    """Time goes on when it is looked at."""

    def __init__(self, step: float) -> None:
        self.time, self.step = 0.0, step

    def __call__(self) -> float:
        self.time += self.step
        return self.time


def words() -> Any:
    return prompts_for(["a", "red", "cat"])


def test_the_number_of_rounds_ends_a_run() -> None:
    measured = Bench(tiny_pipeline(), SCHEDULE, words(), Limit(1e6, 0.0, Clock(0.001))).run(4)
    assert measured.ended == "enough" and len(measured.rounds) == 4
    assert len(measured.dense.pictures) == len(measured.accelerated.pictures) == 5  # and the first


def test_the_limit_ends_a_run_between_or_inside_pictures() -> None:
    """A picture looks at the clock before every layer, so that none goes on past the limit."""
    clock = Clock(1.0)
    limit = Limit(300.0, 0.0, clock, kept=10.0)
    measured = Bench(tiny_pipeline(), SCHEDULE, words(), limit).run(1000)
    assert measured.ended == "time" and 1 <= len(measured.rounds) < 1000
    assert clock.time < 300
    for drawn in (measured.dense, measured.accelerated):
        assert len(drawn.pictures) == len(drawn.plans) == 1 + len(measured.rounds)


def test_a_limit_before_the_first_pictures_is_an_error() -> None:
    with pytest.raises(ValueError, match="not one accelerated picture was finished within the 3 s"):
        Bench(tiny_pipeline(), SCHEDULE, words(), Limit(3.0, 0.0, Clock(1.0))).run()


def test_rounds_alternate_and_no_prompt_comes_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    own = Bench(tiny_pipeline(), SCHEDULE, prompts_for(WORDS), Limit(1e6, 0.0, Clock(0.001)))
    draw = own._picture

    def picture(kind: str) -> Picture:
        found.append(kind)
        return draw(kind)

    monkeypatch.setattr(own, "_picture", picture)
    own.run(2)
    assert found == [ACCELERATED, DENSE, DENSE, ACCELERATED, ACCELERATED, DENSE]
    for prompts in (prompts_for(None), prompts_for(WORDS)):
        some = list(islice(prompts, 80))
        assert len(set(some)) == 80


def picture(seconds: float) -> Picture:
    return Picture(seconds=seconds, text=0.1, scales=seconds - 0.3, decode=0.2)


def measured(dense: list[float], own: list[float], plans: list[str] | None = None) -> Measured:
    rounds = [(picture(a), picture(b)) for a, b in zip(dense, own, strict=True)]
    every = plans or ["toprovar"] * (1 + len(own))
    drawn = Drawn([picture(9.0), *(b for _, b in rounds)], [(name, 0.4) for name in every])
    plain = Drawn([picture(8.0), *(a for a, _ in rounds)], [("dense", 1.0)] * (1 + len(rounds)))
    return Measured(plain, drawn, 0, rounds, "enough", 0.0)


def result(found: Measured, monkeypatch: pytest.MonkeyPatch, weights: Any = "embedded") -> Any:
    """Of times that were not measured."""
    pipeline = tiny_pipeline()
    monkeypatch.setattr(Bench, "run", lambda self, enough: found)
    loaded = Loaded(pipeline, torch.device("cpu"), "2b", weights)
    return bench(loaded, SCHEDULE, Limit(120.0, 0.0, lambda: 50.0))


def test_figures_are_medians_of_paired_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    found = result(measured([2.0, 2.1, 2.2, 2.0, 2.0, 2.1], [1.0, 1.0, 1.1, 1.0, 1.0, 1.0]),
                   monkeypatch)
    assert found.ratio.median == pytest.approx(2.0) and found.ratio.count == 6
    assert (found.ratio.low, found.ratio.high) == pytest.approx((2.0, 2.1))
    assert found.loop_ratio.median == pytest.approx(1.7 / 0.7, rel=0.1)
    assert not found.conditions.busy
    assert "accelerated (plan: toprovar, 40 % of the FLOPs) is 2.00 times as fast (95 % interval " \
        "2.00 to 2.10), prompt to picture" in in_words(found)


def test_only_rounds_since_the_last_change_of_plan_count(monkeypatch: pytest.MonkeyPatch) -> None:
    plans = ["toprovar"] * 3 + ["dense"] * 3
    found = result(measured([2.0] * 5, [1.0, 1.0, 2.0, 2.0, 2.0], plans), monkeypatch)
    assert found.ratio.median == 1.0 and found.ratio.count == 3
    assert found.accelerated.plan == "dense" and found.conditions.rounds == 5
    told = " ".join(notes(found))
    assert "5 rounds" in told and "the last 3 are counted" in told
    assert "the automatic choice ran dense" in told
    assert "too few rounds for an interval of 95 %: the one given has 75 %" in told


def test_a_busy_machine_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    found = result(measured([2.0, 3.0, 2.0, 3.5, 2.2, 3.0], [1.0] * 6), monkeypatch)
    assert found.conditions.busy and found.conditions.spread > 0.1
    assert "this machine seemed busy: the middle half of the dense times spans" in in_words(found)


def test_random_weights_are_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    found = result(measured([2.0] * 4, [1.0] * 4), monkeypatch, "random")
    told = in_words(found)
    assert "2b, shape only: RANDOM weights" in told and "pictures mean nothing" in told
    assert '"weights": "random"' in found.to_json()


def test_without_rounds_nothing_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    found = result(measured([], []), monkeypatch)
    assert found.ratio is None and found.loop_ratio is None
    assert "the two cannot be compared" in in_words(found)


def test_a_shape_gets_random_weights_and_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a small variant in the place of a real one."""
    real = variants.get_variant("125m")
    small = variants.TransformerConfig(depth=2, width=128, num_heads=2, bits_per_token=16,
                                       text_channels=32, text_max_length=64)
    shrunk = variants.TransformerVariant(**{**vars(real), "config": small})
    monkeypatch.setattr("toprovar.bench.subjects.get_variant", lambda name: shrunk)
    loaded = load_shape("125m", torch.device("cpu"))
    assert (loaded.name, loaded.weights) == ("125m", "random")
    done = loaded.pipeline(next(prompts_for(loaded.words)), seed=1)
    assert done.images[0].size == (256, 256)


def test_a_shape_that_no_memory_holds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("toprovar.bench.subjects.free_memory", lambda device: 1 << 30)
    with pytest.raises(ValueError, match=r"the weights of 8b take .* GiB, and 1.0 GiB of memory"):
        load_shape("8b", torch.device("cpu"))

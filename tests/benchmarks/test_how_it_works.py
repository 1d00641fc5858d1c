"""The pictures of the explanation: what they claim is worked out, and every one is in the docs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.how_it_works.__main__ import FIGURES, encoded
from benchmarks.how_it_works.attention import kept, looked_at
from benchmarks.how_it_works.drawing import Studio
from benchmarks.how_it_works.leaving_out import kept_plan

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Studio:
    """At 256 x 256, where a picture takes a second."""
    monkeypatch.setattr("benchmarks.how_it_works.drawing.PIXELS", "0.06M")
    return Studio()


@pytest.mark.parametrize("name", FIGURES)
def test_every_picture_is_shown_on_a_page(name: str) -> None:
    stem = f"how-{name}."
    assert [path for path in (DOCS / "images").iterdir() if path.name.startswith(stem)]
    pages = (path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md"))
    assert any(f"images/{stem}" in page for page in pages)


def test_pictures_are_drawn_and_encoded(small: Studio) -> None:
    for name in ("scales", "step", "tokens", "dropped"):
        file, content = encoded(name, FIGURES[name](small))
        start = b"\x89PNG" if file.endswith(".png") else b"\xff\xd8"
        assert content.startswith(start) and len(content) > 5000


def test_the_probe_sees_the_entropy_that_the_engine_measures(small: Studio) -> None:
    probe, maps = looked_at(small)
    last = len(small.schedule) - 1
    entropy = maps[last, 9][0].flatten()
    assert torch.allclose(probe.entropy.mean(0), entropy, atol=1e-3)
    stay = kept(small, maps)
    assert stay.shape == small.schedule.grids[last]
    assert int(stay.sum()) == round(0.4 * stay.numel())


def test_dropped_tokens_are_those_of_the_last_scales_alone(small: Studio) -> None:
    plan = kept_plan(small, 0.3, "exit", first=6)
    assert [step.sparse for step in plan.scales] == [False] * 6 + [True]
    assert small.work(plan) < 0.75

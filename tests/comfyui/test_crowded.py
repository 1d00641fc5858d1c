"""A card that is too small for a model of ours and another one: what ComfyUI's manager decides."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.comfyui.server import ROOT, Installation, environment

BLOCKS = 10
"""Of the embedded model's transformer."""


@pytest.fixture(scope="module")
def facts(installation: Installation) -> dict[str, Any]:
    """See crowded.py."""
    done = subprocess.run(
        [str(installation.python), str(ROOT / "tests" / "comfyui" / "crowded.py"),
         str(installation.folder / "ComfyUI"), str(ROOT)],
        capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_nobody_goes_where_there_is_room(facts: dict[str, Any]) -> None:
    assert facts["kept where there is room"] is True


def test_others_give_away_what_is_missing_and_no_more(facts: dict[str, Any]) -> None:
    assert facts["given away"] == pytest.approx(20, abs=0.01)  # MiB, of 200


def test_a_streamed_model_takes_the_room_of_what_is_not_streamed(facts: dict[str, Any]) -> None:
    assert facts["given to a streamed one"] == pytest.approx(1.1, abs=0.01)  # as of any model
    assert facts["said of it afterwards"] == 0


def test_ours_gives_blocks_back_when_another_comes(facts: dict[str, Any]) -> None:
    assert 0.5 < facts["left of ours"] < 1 and 0 < facts["streamed"] < BLOCKS
    assert facts["alike"] is True

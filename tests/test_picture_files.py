"""Parameters in pictures, also those that are too long for a JPEG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from toprovar.picture_files import LEFT_OUT, MOST_EXIF, left_out_note, read_parameters, save_picture

SMALL: dict[str, Any] = {"prompt": "a cat", "seed": 3, "params": {"cfg": [3.0]}}
LONG = "a red apple " * 5834
"""70,008 characters."""


def saved(path: Path, **more: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    left = save_picture(Image.new("RGB", (8, 8)), path, SMALL | more)
    return read_parameters(path), left


@pytest.mark.parametrize("name", ["a.png", "a.webp"])
def test_png_and_webp_hold_everything(tmp_path: Path, name: str) -> None:
    for prompt in (LONG, "草" * 70_000):
        found, left = saved(tmp_path / name, prompt=prompt, sparsity_plan={"keep": LONG})
        assert left == () and found["prompt"] == prompt and found["sparsity_plan"]["keep"] == LONG


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg"])
def test_jpeg_leaves_out_what_does_not_fit(tmp_path: Path, name: str) -> None:
    found, left = saved(tmp_path / name, prompt=LONG)
    assert left == ("prompt",)
    assert found == {"seed": 3, "params": {"cfg": [3.0]}, LEFT_OUT: ["prompt"]}


def test_the_plan_goes_first_then_the_longest(tmp_path: Path) -> None:
    path, plan = tmp_path / "a.jpg", {"keep": [1] * 100}
    found, left = saved(path, prompt="a" * (MOST_EXIF - 200), sparsity_plan=plan)
    assert left == ("sparsity_plan",) and len(found["prompt"]) == MOST_EXIF - 200
    found, left = saved(path, prompt=LONG, negative_prompt=LONG[:50_000], sparsity_plan=plan)
    assert left == ("sparsity_plan", "prompt") and found["negative_prompt"] == LONG[:50_000]
    assert found["seed"] == 3


def test_what_just_fits_is_written_whole(tmp_path: Path) -> None:
    """Lengths around the limit; characters beyond ASCII take six bytes."""
    for count in range(MOST_EXIF - 80, MOST_EXIF, 7):
        found, left = saved(tmp_path / "a.jpg", prompt="a" * count)
        assert ("prompt" in found) == (left == ())
    for count in (10_000, 11_000, 12_000):
        found, left = saved(tmp_path / "a.jpg", prompt="草" * count)
        assert (left == ()) == (count < 11_000)


def test_the_note_names_it() -> None:
    assert left_out_note(["sparsity_plan", "prompt"]).endswith(
        "left out there: sparsity plan, prompt; PNG holds everything")

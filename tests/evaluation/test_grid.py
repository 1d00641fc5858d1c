"""Sheets of many pictures."""

from __future__ import annotations

import pytest
from PIL import Image

from toprovar.evaluation.grid import WIDEST, picture_grid


def test_pictures_stand_side_by_side() -> None:
    images = [Image.new("RGB", (64, 32), colour) for colour in ("red", "green", "blue", "white")]
    sheet = picture_grid(images, ["a", "b", "c", "d"], side=64)
    colours = {colour for _, colour in sheet.getcolors(1 << 20) or ()}
    assert {(255, 0, 0), (0, 128, 0), (0, 0, 255)} <= colours
    with pytest.raises(ValueError, match="as many captions as pictures"):
        picture_grid(images, ["a"])


@pytest.mark.parametrize("size", [(16, 16), (48, 16), (16, 48)])
def test_thousands_fit_on_a_sheet_that_webp_can_hold(size: tuple[int, int]) -> None:
    sheet = picture_grid([Image.new("RGB", size)] * 5000, [""] * 5000)
    assert WIDEST / 3 < max(sheet.size) <= WIDEST

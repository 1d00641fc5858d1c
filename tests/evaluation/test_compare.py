from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from PIL import Image

from toprovar.evaluation.compare import Compared, Taken, compare, contact_sheet, heat, label


def taken(name: str, shade: int = 0, seconds: float = 1.0, bits: int = 3, flip: int = 0,
          size: tuple[int, int] = (48, 32)) -> Taken:
    picture = Image.new("RGB", size, (shade, shade, shade))
    tokens = {s: torch.zeros(1, 4, 2, dtype=torch.uint8) for s in range(bits)}
    tokens[0].view(-1)[:flip] = 1
    return Taken(name, picture, tokens, torch.full((1, 2, 3, 3), 1.0 + shade), seconds,
                 predicted=seconds / 2, flop_share=0.5)


def test_figures_are_held_against_the_first() -> None:
    first, second = compare([taken("dense"), taken("fast", 51, 0.25, bits=2, flip=4)])
    assert (first.ssim, first.equal_bits, first.latent_distance, first.speedup) == (1, 1, 0, 1)
    assert math.isinf(first.psnr) and first.to_json()["psnr"] is None
    assert second.speedup == second.predicted == 4
    assert second.psnr == pytest.approx(-20 * math.log10(51 / 255), abs=1e-6)
    assert second.equal_bits == 1 - 4 / 16 and (second.bit_scales, second.all_scales) == (2, 3)
    assert second.latent_distance == pytest.approx(51)
    assert second.difference.shape == (32, 48)
    assert torch.allclose(second.difference, torch.tensor(0.2))


def test_bits_of_scales_in_between_are_matched_by_their_scale() -> None:
    gap = taken("gap")
    del gap.bits[1]
    gap.bits[2] = gap.bits[2] + 1
    [_, found] = compare([taken("dense"), gap])
    assert found.bit_scales == 2 and found.equal_bits == 0.5


def test_labels_say_what_is_known() -> None:
    first, second = compare([taken("dense"), taken("fast", 51, 0.05, bits=2)])
    assert label(first, first=True) == ["dense", "1.00 s, what the others are held against"]
    assert label(second) == [
        "fast", "50 ms, 20.00 x faster (20.00 x predicted)",
        f"SSIM {second.ssim:.3f}, PSNR 14.0 dB", "FLOPs 50 %, equal bits 100.0 % of 2 scales",
    ]
    same = compare([taken("dense"), taken("same")])[1]
    assert "PSNR equal" in label(same)[2]


def test_colours_rise_with_the_difference() -> None:
    image = heat(torch.linspace(0, 1, 101)[None], full=0.5)
    light = [sum(image.getpixel((x, 0))) for x in range(51)]  # type: ignore[arg-type]  # RGB
    assert all(a < b for a, b in pairwise(light))
    assert image.getpixel((50, 0)) == image.getpixel((100, 0)) == (252, 252, 214)


def sheet(compared: list[Compared], side: int = 96) -> Image.Image:
    return contact_sheet(compared, "a prompt " * 30, "where", side)


def test_the_sheet_shows_pictures_and_differences() -> None:
    compared = compare([taken("dense", 200), taken("fast", 120), taken("far", 20)])
    image = sheet(compared)
    assert image.width == 2 * 24 + 3 * 96 + 2 * 14
    for i, shade in enumerate((200, 120, 20)):
        colours = {image.getpixel((24 + i * (96 + 14) + 48, y)) for y in range(image.height)}
        assert (shade, shade, shade) in colours
        if i:
            assert heat(compared[i].difference).getpixel((0, 0)) in colours


def test_many_pictures_go_on_in_rows_and_upright_ones_fit() -> None:
    many = compare([taken(str(i), 10 * i) for i in range(8)])
    few = many[:6]
    assert sheet(many).width == sheet(few).width
    assert sheet(many).height > 1.6 * sheet(few).height
    upright = sheet(compare([taken("dense", size=(32, 48)), taken("b", size=(32, 48))]))
    assert upright.width == 2 * 24 + 2 * 64 + 14


def test_nothing_to_compare() -> None:
    with pytest.raises(ValueError, match="no pictures"):
        compare([])
    with pytest.raises(ValueError, match="no pictures"):
        contact_sheet([])

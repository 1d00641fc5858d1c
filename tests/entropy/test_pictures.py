"""Pictures exist, show what they should, and need nothing when they are not asked for."""

from __future__ import annotations

import pytest
import torch
from PIL import Image, ImageChops

from tests.entropy.make import make_trace
from toprovar.entropy import pictures
from toprovar.entropy.summary import summarise


def test_figures_are_drawn() -> None:
    trace = make_trace()
    summary = summarise(trace)
    for image in (
        pictures.entropy_maps(trace, 1), pictures.entropy_maps(trace, 0, [6], [2]),
        pictures.entropy_maps(trace, picture=Image.new("RGB", (64, 48), "red")),
        pictures.layer_strip(trace, summary), pictures.rho_curve(trace, summary),
        pictures.rho_curve(trace, summary, tau=0.45, start=5),
    ):
        assert min(image.size) > 120 and len(image.getcolors(1 << 24) or ()) > 20


def test_one_prompt_and_few_maps_are_enough() -> None:
    trace = make_trace(1, heads=True)
    summary = summarise(trace)
    for image in (pictures.entropy_maps(trace), pictures.layer_strip(trace, summary),
                  pictures.rho_curve(trace, summary)):
        assert min(image.size) > 120


def test_tau_and_start_are_marked() -> None:
    trace = make_trace()
    summary = summarise(trace)
    red = []
    for image in (pictures.rho_curve(trace, summary),
                  pictures.rho_curve(trace, summary, tau=0.45, start=5)):
        r, g, b = image.split()
        red.append(ImageChops.subtract(r, ImageChops.lighter(g, b)).point([0] * 91 + [255] * 165))
    assert red[0].getbbox() is None and sum(red[1].histogram()[1:]) > 500


@pytest.mark.parametrize("start", [1, 3, 6])
def test_the_starts_words_stay_on_the_sheet(start: int) -> None:
    trace = make_trace()
    image = pictures.rho_curve(trace, summarise(trace), start=start)
    r, g, b = image.split()
    red = ImageChops.subtract(r, ImageChops.lighter(g, b)).point([0] * 91 + [255] * 165)
    box = red.crop((0, 168, image.width, 192)).getbbox()
    assert box and box[0] > 20 and box[2] < image.width - 20 and box[2] - box[0] > 100


def test_maps_share_one_range_of_colours() -> None:
    """Each is a deviation in percent from its own mean; all values but the outermost fit."""
    shown = pictures.deviations(make_trace(), 0, [5, 6], [0, 3])
    assert len(shown.maps) == 4 and shown.low < 0 < shown.high
    for values in shown.maps.values():
        assert abs(float(values.mean())) < 1e-4
    every = torch.cat([v.flatten() for v in shown.maps.values()])
    assert 0.95 < float(((every >= shown.low) & (every <= shown.high)).double().mean()) <= 0.99


def test_the_picture_and_its_prompt_stand_in_front() -> None:
    trace = make_trace()
    image = pictures.entropy_maps(trace, 0, [5, 6], [0, 3], Image.new("RGB", (64, 64), "#00ff00"))
    green = sum(n for n, colour in image.getcolors(1 << 24) or () if colour == (0, 255, 0))
    assert green == pytest.approx((2 * (2 * pictures.CELL + pictures.GAP)) ** 2, rel=0.02)


def test_kept_overlay_fades_what_was_dropped() -> None:
    picture = Image.new("RGB", (128, 64), (250, 20, 20))
    mask = torch.zeros(2, 4, dtype=torch.bool)
    mask[:, :2] = True
    sheet = pictures.kept_overlay(picture, {5: mask, 6: torch.full((4, 8), 0.5)}, side=128)
    assert sheet.size == (2 * 128 + 4, 64 + 18)
    assert sheet.getpixel((20, 40)) == (250, 20, 20)  # kept: the picture itself
    red, green, blue = sheet.getpixel((100, 40))  # type: ignore[misc]  # RGB
    assert max(red, green, blue) - min(red, green, blue) < 20  # dropped: hardly any colour
    half = sheet.getpixel((132 + 60, 40))
    assert half not in ((250, 20, 20), (red, green, blue))
    for kept, message in (({}, "no scales"), ({5: torch.ones(4)}, r"\[h, w\]")):
        with pytest.raises(ValueError, match=message):
            pictures.kept_overlay(picture, kept)


def test_spread_out() -> None:
    assert pictures.spread_out(range(32), 4) == [0, 10, 21, 31]
    assert pictures.spread_out([1, 2], 6) == [1, 2]

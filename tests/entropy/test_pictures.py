"""Pictures exist, show what they should, and need nothing when they are not asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from PIL import Image

from tests.entropy.make import make_trace
from toprovar.entropy import pictures
from toprovar.entropy.summary import summarise


def opened(content: bytes) -> Image.Image:
    import io

    return Image.open(io.BytesIO(content)).convert("RGB")


def test_figures_are_drawn() -> None:
    trace = make_trace()
    summary = summarise(trace)
    for figure in (
        pictures.entropy_maps(trace, 1), pictures.entropy_maps(trace, 0, [6], [2]),
        pictures.entropy_maps(trace, picture=Image.new("RGB", (64, 48), "red")),
        pictures.layer_strip(trace, summary), pictures.rho_curve(trace, summary),
        pictures.rho_curve(trace, summary, tau=0.45, start=5),
    ):
        image = opened(pictures.png(figure, 60))
        assert min(image.size) > 60 and len(image.getcolors(1 << 24) or ()) > 20


def test_one_prompt_and_few_maps_are_enough() -> None:
    trace = make_trace(1, heads=True)
    summary = summarise(trace)
    for figure in (pictures.entropy_maps(trace), pictures.layer_strip(trace, summary),
                   pictures.rho_curve(trace, summary)):
        assert pictures.png(figure, 40)


def test_maps_share_one_range_of_colours() -> None:
    figure = pictures.entropy_maps(make_trace(), 0, [5, 6], [0, 3])
    limits = {axis.images[0].get_clim() for axis in figure.axes if axis.images}
    ranges = [axis.images[0].get_array() for axis in figure.axes[:4]]
    assert len(limits) >= 1 and len({tuple(axis.images[0].get_clim())
                                     for axis in figure.axes[:4]}) == 1
    for values in ranges:  # a deviation in percent, around 0
        assert values is not None and abs(float(values.mean())) < 1e-4


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


def test_matplotlib_is_lazy_and_its_absence_is_told() -> None:
    code = (
        "import sys\n"
        "import toprovar.entropy.pictures as p\n"
        "assert 'matplotlib' not in sys.modules\n"
        "sys.modules['matplotlib.figure'] = None\n"
        "try: p.new_figure(1, 1)\n"
        "except ValueError as error: assert 'toprovar[analysis]' in str(error)\n"
        "else: raise SystemExit('no error')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

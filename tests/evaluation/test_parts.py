"""The detail task on a drawn sprite: where it is found, and what the error of a part means."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from toprovar.evaluation.parts import (
    FRAME,
    WINDOW,
    Aligned,
    Limits,
    Place,
    Template,
    align,
    part_error,
)

EYE = (0.25, 0.30, 0.45, 0.50)
LIMITS = Limits()


@pytest.fixture(scope="module")
def template() -> Template:
    """A red disc with two dark eyes in a square, no shadow."""
    place = (torch.arange(FRAME) + 0.5) / FRAME
    y, x = place[:, None], place[None, :]
    colour = torch.zeros(3, FRAME, FRAME)
    alpha = ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.23).float()
    colour[0] = 0.9 * alpha
    for centre in (0.35, 0.65):
        colour = torch.where((x - centre) ** 2 + (y - 0.4) ** 2 < 0.005, 0.05 * alpha, colour)
    rim = (WINDOW - FRAME) // 2
    return Template(F.pad(colour, (rim,) * 4), F.pad(alpha, (rim,) * 4),
                    torch.zeros(WINDOW, WINDOW))


def _drawn(template: Template, size: int, place: Place) -> torch.Tensor:
    """The sprite on a grey picture, by sampling its window at every pixel."""
    step = (torch.arange(size) + 0.5) / size
    scale = WINDOW / FRAME
    x, y = ((step - c) / (place.side * scale) * 2 for c in (place.cx, place.cy))
    grid = torch.stack([x[None].expand(size, -1), y[:, None].expand(-1, size)], -1)[None]
    planes = torch.cat([template.colour, template.alpha[None]])[None]
    seen = F.grid_sample(planes, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return seen[0, :3] + 0.7 * (1 - seen[0, 3:])


@pytest.mark.parametrize("size", [256, 512])
def test_the_sprite_is_found_from_a_guess_that_is_off(template: Template, size: int) -> None:
    true = Place(0.55, 0.42, 0.4)
    found = align(_drawn(template, size, true), template, Place(0.58, 0.40, 0.45))
    assert found.likeness > 0.98
    assert found.place.cx == pytest.approx(true.cx, abs=0.006)
    assert found.place.cy == pytest.approx(true.cy, abs=0.006)
    assert found.place.side == pytest.approx(true.side, rel=0.03)
    error = part_error(found, EYE, LIMITS)
    assert error is not None and error < 0.1


def _aligned(template: Template, picture: torch.Tensor) -> Aligned:
    return Aligned(Place(0.5, 0.5, 1.0), 1.0, picture, template.over(torch.full((3,), 0.7)))


def _with_eye(template: Template, contrast: float) -> torch.Tensor:
    """The picture with the left eye's contrast to the disc scaled."""
    picture = template.over(torch.full((3,), 0.7)).clone()
    flat = torch.tensor([0.9, 0.0, 0.0])[:, None, None]
    rim = (WINDOW - FRAME) // 2
    left, top, right, bottom = (round(v * FRAME) + rim for v in EYE)
    area = picture[:, top:bottom, left:right]
    picture[:, top:bottom, left:right] = flat + contrast * (area - flat)
    return picture


def test_a_part_that_is_there_has_no_error_and_one_that_is_not_has_one(template: Template) -> None:
    # The least over the places around an eye that is gone may be a little below 1.
    for contrast, wanted in ((1.0, 0.0), (0.5, 0.25), (0.0, 1.0)):
        error = part_error(_aligned(template, _with_eye(template, contrast)), EYE, LIMITS)
        assert error == pytest.approx(wanted, abs=0.02)


def test_a_part_may_be_a_little_off_its_place_and_no_more(template: Template) -> None:
    picture = template.over(torch.full((3,), 0.7))
    near = part_error(_aligned(template, picture.roll(10, 2)), EYE, LIMITS)
    far = part_error(_aligned(template, picture.roll(40, 2)), EYE, LIMITS)
    assert near == pytest.approx(0, abs=1e-4)
    assert far is not None and far > 0.8


def test_a_lighter_picture_is_no_error(template: Template) -> None:
    picture = template.over(torch.full((3,), 0.7)) + 0.1
    assert part_error(_aligned(template, picture), EYE, LIMITS) == pytest.approx(0, abs=1e-4)


def test_what_does_not_stand_out_is_not_looked_for(template: Template) -> None:
    plain = (0.45, 0.65, 0.55, 0.75)
    assert part_error(_aligned(template, template.colour), plain, LIMITS) is None


def test_a_template_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="planes must be"):
        Template(torch.zeros(3, 8, 8), torch.zeros(8, 8), torch.zeros(8, 8))

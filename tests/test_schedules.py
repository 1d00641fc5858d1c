from __future__ import annotations

import pytest

from toprovar.schedules import (
    aspect_names,
    find_schedule,
    get_schedule,
    nearest_template,
    parse_aspect,
    picture_notes,
    pixel_budgets,
    schedule_for_picture,
    schedule_for_size,
    templates,
)


def test_square_1m_is_the_published_one() -> None:
    schedule = get_schedule("1.0", "1M")
    assert [h for h, _ in schedule.grids] == [1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64]
    assert sum(schedule.tokens) == 10521
    assert schedule.image_size == (1024, 1024)


@pytest.mark.parametrize("template", templates())
@pytest.mark.parametrize("pn", pixel_budgets())
def test_every_schedule_is_found_again(template: str, pn: str) -> None:
    schedule = get_schedule(template, pn)
    assert find_schedule([[1, h, w] for h, w in schedule.grids]) == schedule
    assert schedule_for_size(*schedule.image_size).grids == schedule.grids
    assert schedule.rope_grid == get_schedule(template, "1M").grids[-1]


def test_reciprocal_templates_are_transposed() -> None:
    assert [g[::-1] for g in get_schedule("1.5", "1M").grids] == list(
        get_schedule("0.666", "1M").grids
    )


def test_numbers_go_to_the_nearest_template_by_ratio() -> None:
    assert nearest_template(1.45) == "1.5"
    assert nearest_template(1 / 1.45) == "0.666"
    assert get_schedule(1.4, "0.06M").template == "1.333"


def test_aspect_is_width_to_height() -> None:
    assert parse_aspect("3:2") == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="3:2"):
        parse_aspect("wide")


def test_every_template_has_a_name_by_width_to_height() -> None:
    names = aspect_names()
    assert sorted(names.values()) == sorted(templates()) and next(iter(names)) == "1:1"
    assert names["3:2"] == "0.666" and names["2:3"] == "1.5"
    for name, template in names.items():
        assert nearest_template(parse_aspect(name)) == template
    wide = [name for name in names if parse_aspect(name) < 1]
    assert wide == sorted(wide, key=parse_aspect, reverse=True)


@pytest.mark.parametrize(("template", "pn"), [("9.9", "1M"), ("1.0", "2M")])
def test_unknown_names_say_what_is_known(template: str, pn: str) -> None:
    with pytest.raises(ValueError, match="expected one of"):
        get_schedule(template, pn)


def test_unlisted_grids_are_an_error() -> None:
    with pytest.raises(ValueError, match="no listed schedule"):
        find_schedule([[1, 1, 1], [1, 3, 5]])


@pytest.mark.parametrize(("size", "most", "drawn"), [
    ((256, 256), "0.25M", (256, 256)),  # listed sizes stay
    ((512, 512), "1M", (512, 512)),
    ((300, 300), "1M", (256, 256)),
    ((900, 600), "1M", (1008, 672)),
    ((1024, 1024), "0.25M", (512, 512)),  # no more than the model's own budget
    ((20000, 20000), "1M", (1024, 1024)),
    ((8, 8), "1M", (256, 256)),
])
def test_a_picture_is_drawn_at_the_size_nearest_to_its_own(
        size: tuple[int, int], most: str, drawn: tuple[int, int]) -> None:
    found = schedule_for_picture(*size, most)
    assert found.image_size == drawn
    notes = picture_notes(found, *size, most)
    assert len(notes) == (drawn != size)
    if notes:
        capped = size[0] * size[1] > 2 * drawn[0] * drawn[1] and most != "1M"
        assert ("the model's own size is 0.25M" in notes[0]) == capped
        assert ("the nearest listed size" in notes[0]) == (not capped)


def test_the_plans_size_and_the_full_size_of_a_part_go_before_the_pictures() -> None:
    planned = get_schedule("1.0", "1M")
    assert schedule_for_picture(256, 256, "0.25M", planned) == planned
    assert "nearest" not in picture_notes(planned, 256, 256, "1M")[0]
    assert schedule_for_picture(256, 384, "0.25M", planned).template == "0.666"
    assert schedule_for_picture(256, 256, "0.25M", part=True).image_size == (512, 512)

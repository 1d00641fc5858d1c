from __future__ import annotations

import pytest

from toprovar.schedules import (
    aspect_names,
    find_schedule,
    get_schedule,
    nearest_template,
    parse_aspect,
    pixel_budgets,
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

"""The classes and colours: clean words that cannot be mistaken."""

from __future__ import annotations

from dataclasses import replace

import pytest

from training.data.catalog import class_index, load_classes
from training.data.colours import BACKGROUND_COLOURS, COLOUR_NAMES, BackgroundColour, ObjectColour


def test_the_apple_is_red_and_can_be_recoloured() -> None:
    apple = load_classes()[class_index("apple")]
    assert apple.natural == ("red",) and apple.recolour and set(apple.sayable()) == {*COLOUR_NAMES}


def test_there_are_as_many_classes_as_wanted() -> None:
    assert 30 <= len(load_classes()) <= 60
    assert len({entry.codepoint for entry in load_classes()}) == len(load_classes())


def test_class_words_are_checked() -> None:
    apple = load_classes()[class_index("apple")]
    with pytest.raises(ValueError, match="also a colour"):
        replace(apple, name="orange")
    with pytest.raises(ValueError, match="one lower-case word"):
        replace(apple, plural="Red apples")
    with pytest.raises(ValueError, match="article"):
        replace(apple, article="a")
    with pytest.raises(ValueError, match="natural colour"):
        replace(apple, natural=("mauve",))
    with pytest.raises(KeyError, match="zebra"):
        class_index("zebra")


def test_each_background_hides_its_own_colour() -> None:
    for ground in BACKGROUND_COLOURS:
        assert ground.name in ground.hides


def test_colours_are_checked() -> None:
    with pytest.raises(ValueError, match="0-255"):
        ObjectColour("red", (0, 0, 300), (0, 0, 0), (0, 0, 0))
    with pytest.raises(ValueError, match="unknown colour"):
        BackgroundColour("red", (0, 0, 0), (0, 0, 0), ("mauve",))

"""The rules of the six tasks, on detections made by hand."""

from __future__ import annotations

import pytest

from toprovar.evaluation.compositional import (
    Detection,
    ObjectSpec,
    PromptSpec,
    Thresholds,
    decide,
)
from toprovar.evaluation.compositional.tasks import holds


def seen(cls, colour=None, at=(0.5, 0.5), side=0.2, score=0.9):
    x, y = at
    return Detection(
        cls, colour, score, (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
    )


def passes(task, objects, found, relation=None):
    specs = tuple(ObjectSpec(*o) if isinstance(o, tuple) else ObjectSpec(o) for o in objects)
    return decide(PromptSpec(task, "text", specs, relation), found).passed


CAT, DOG = seen("cat", "red", (0.25, 0.5)), seen("dog", "blue", (0.75, 0.5))


def test_single_needs_the_class_and_no_more():
    assert passes("single", ["cat"], [CAT])
    assert passes("single", ["cat"], [DOG, CAT])
    assert not passes("single", ["cat"], [DOG])
    assert not passes("single", ["cat"], [])


def test_two_needs_both():
    assert passes("two", ["cat", "dog"], [DOG, CAT])
    assert not passes("two", ["cat", "dog"], [CAT, CAT])


@pytest.mark.parametrize("there", range(6))
def test_counting_needs_exactly_so_many(there):
    found = [CAT] * there + [DOG] * 2
    assert passes("counting", [("cat", None, 3)], found) == (there == 3)


def test_counting_in_a_colour_needs_all_in_it():
    assert passes("counting", [("cat", "red", 2)], [CAT, CAT])
    assert not passes("counting", [("cat", "red", 2)], [CAT, seen("cat", "blue")])


def test_colours_looks_at_the_surest_of_the_class():
    assert passes("colours", [("cat", "red")], [CAT])
    assert not passes("colours", [("cat", "blue")], [CAT])
    assert not passes("colours", [("cat", "blue")], [CAT, seen("cat", "blue", score=0.4)])
    assert not passes("colours", [("cat", "red")], [seen("cat", None)])
    assert not passes("colours", [("cat", "red")], [seen("dog", "red")])


def test_binding_needs_each_colour_on_its_own_object():
    assert passes("binding", [("cat", "red"), ("dog", "blue")], [CAT, DOG])
    assert not passes("binding", [("cat", "blue"), ("dog", "red")], [CAT, DOG])
    assert not passes("binding", [("cat", "red"), ("dog", "blue")], [CAT])


@pytest.mark.parametrize(
    ("relation", "at"),
    [("left", (0.2, 0.5)), ("right", (0.8, 0.5)), ("above", (0.5, 0.2)), ("below", (0.5, 0.8))],
)
def test_position_holds_one_way_only(relation, at):
    found = [seen("cat", at=at), seen("dog")]
    for asked in ("left", "right", "above", "below"):
        assert passes("position", ["cat", "dog"], found, asked) == (asked == relation)


def test_position_needs_both_and_a_margin():
    assert not passes("position", ["cat", "dog"], [CAT], "left")
    near = [seen("cat", at=(0.47, 0.5)), seen("dog")]
    assert not passes("position", ["cat", "dog"], near, "left")
    assert holds("left", near[0], near[1], Thresholds(position_margin=0.05))


def test_diagonal_counts_as_both_as_in_geneval():
    found = [seen("cat", at=(0.2, 0.2)), seen("dog", at=(0.8, 0.8))]
    assert passes("position", ["cat", "dog"], found, "left")
    assert passes("position", ["cat", "dog"], found, "above")
    assert not passes("position", ["cat", "dog"], found, "right")


def test_verdict_tells_why():
    prompt = PromptSpec("colours", "a blue cat", (ObjectSpec("cat", "blue"),))
    assert decide(prompt, [CAT]).reason == "the cat is red, not blue"
    assert decide(prompt, []).reason == "no cat"

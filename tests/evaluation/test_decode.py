"""Peaks, boxes and suppression, on maps made by hand."""

from __future__ import annotations

import math

import pytest
import torch

from toprovar.evaluation.compositional import Detection, Thresholds
from toprovar.evaluation.compositional.decode import decode, shared, suppress
from toprovar.evaluation.compositional.detector import Maps

CLASSES, COLOURS = ("cat", "dog"), ("red", "blue")


def empty(cells=16):
    return Maps(
        torch.full((1, 2, cells, cells), -8.0),
        torch.full((1, 2, cells, cells), -4.0),
        torch.full((1, 2, cells, cells), math.log(0.2)),
        torch.zeros((1, 2, cells, cells)),
    )


def found(maps, **limits):
    return decode(maps, CLASSES, COLOURS, Thresholds(**{"score": 0.3, **limits}))[0]


def test_nothing_on_an_empty_map():
    assert found(empty()) == []


def test_a_peak_becomes_one_object():
    maps = empty()
    maps.heat[0, 1, 4, 8] = 2.0
    maps.heat[0, 1, 4, 9] = maps.heat[0, 1, 3, 8] = 1.0
    maps.colour[0, 1, 4, 8] = 3.0
    maps.offset[0, :, 4, 8] = torch.tensor([0.25, -0.5])
    maps.size[0, :, 4, 8] = torch.tensor([0.5, 0.25]).log()
    (only,) = found(maps)
    assert (only.cls, only.colour) == ("dog", "blue")
    assert only.score == pytest.approx(torch.tensor(2.0).sigmoid().item())
    assert only.centre == pytest.approx((8.75 / 16, 4.0 / 16))
    assert only.extent == pytest.approx((0.5, 0.25))


def test_thresholds_count():
    maps = empty()
    maps.heat[0, 0, 5, 5] = 0.5
    maps.colour[0, 0, 5, 5] = 0.5
    assert found(maps)[0].colour == "red"
    assert found(maps, colour=0.7)[0].colour is None
    assert found(maps, score=0.7) == []


def test_two_classes_at_one_place_give_the_surer_one():
    maps = empty()
    maps.size.fill_(math.log(0.4))
    maps.heat[0, 0, 5, 5], maps.heat[0, 1, 5, 5] = 1.0, 2.0
    maps.heat[0, 0, 5, 7] = 1.5  # not a neighbour, but its box lies on the other's
    assert [d.cls for d in found(maps)] == ["dog"]


def test_apart_objects_of_one_class_all_stay():
    maps = empty()
    for x in (2, 7, 12):
        maps.heat[0, 0, 5, x] = 1.0
    assert len(found(maps)) == 3


def test_suppression_keeps_the_surest_first():
    boxes = [(0.0, 0.0, 0.4, 0.4), (0.02, 0.0, 0.42, 0.4), (0.3, 0.3, 0.7, 0.7)]
    things = [Detection("cat", None, s, b) for s, b in zip((0.5, 0.9, 0.7), boxes, strict=True)]
    assert [d.score for d in suppress(things, 0.5)] == [0.9, 0.7]


def test_intersection_over_union():
    assert shared((0, 0, 1, 1), (0, 0, 1, 1)) == 1.0
    assert shared((0, 0, 1, 1), (0.5, 0, 1.5, 1)) == pytest.approx(1 / 3)
    assert shared((0, 0, 1, 1), (1, 1, 2, 2)) == 0.0

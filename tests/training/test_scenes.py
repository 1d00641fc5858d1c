"""Scenes: reproducible, held-out combinations kept out, everything visible and in its place."""

from __future__ import annotations

import time
from dataclasses import fields

import numpy as np
import pytest
import torch

from training.data.catalog import load_classes
from training.data.colours import BACKGROUND_COLOURS, COLOUR_NAMES
from training.data.holdout import tables
from training.data.layouts import MARGIN
from training.data.scene_batch import RELATIONS, TASKS, Scene, SceneBatch, SceneObject
from training.data.scenes import HELDOUT_TASKS, SPLITS, Odds, Split, sample_scenes

N = 8000


@pytest.fixture(scope="module", params=SPLITS)
def batch(request: pytest.FixtureRequest) -> SceneBatch:
    return sample_scenes(N, 11, request.param)


def _held(batch: SceneBatch) -> np.ndarray:
    """Which scenes show a held-out combination."""
    known = tables()
    colour = (known.held_colour[batch.cls, batch.variant] & batch.valid.numpy()).any(axis=1)
    pair = (batch.relation >= 0).numpy()
    triple = known.held_relation[batch.cls[:, 0], batch.cls[:, 1], batch.relation.clamp_min(0)]
    return colour | (pair & triple)


def test_same_seed_gives_the_same_scenes() -> None:
    one, two, other = (sample_scenes(500, seed) for seed in (3, 3, 4))
    assert all(torch.equal(getattr(one, f.name), getattr(two, f.name)) for f in fields(one))
    assert not torch.equal(one.cls, other.cls)
    assert not torch.equal(one.cls, sample_scenes(500, 3, "eval").cls)


@pytest.mark.parametrize("split", ["train", "eval"])
def test_held_out_combinations_are_never_shown(split: Split) -> None:
    assert not _held(sample_scenes(60_000, 5, split)).any()


def test_every_heldout_scene_shows_one() -> None:
    drawn = sample_scenes(N, 5, "heldout")
    assert _held(drawn).all()
    assert {TASKS[t] for t in drawn.task.unique().tolist()} == set(HELDOUT_TASKS)


def test_about_a_tenth_is_held_out_and_every_part_is_seen() -> None:
    known = tables()
    count = len(load_classes())
    assert 0.06 < known.held_colour.sum() / known.sayable.sum() < 0.14
    assert 0.07 < known.held_relation.sum() / (count * (count - 1) * len(RELATIONS)) < 0.13
    seen = known.sayable & ~known.held_colour
    many = known.sayable.sum(axis=1)
    assert (seen.sum(axis=1)[many > 2] >= 5).all()
    assert (seen.sum(axis=0)[1:] >= 20).all()
    mirrored = known.held_relation.transpose(1, 0, 2)[:, :, [1, 0, 3, 2]]
    assert (known.held_relation == mirrored).all()


def test_natural_colours_are_not_held_out() -> None:
    for index, entry in enumerate(load_classes()):
        for colour in set(entry.natural) & set(COLOUR_NAMES):
            assert not tables().held_colour[index, 1 + COLOUR_NAMES.index(colour)]


def test_no_object_has_the_colour_of_its_background(batch: SceneBatch) -> None:
    classes = load_classes()
    for row in range(2000):
        ground = BACKGROUND_COLOURS[int(batch.background[row])]
        for slot in range(int(batch.valid[row].sum())):
            variant = int(batch.variant[row, slot])
            entry = classes[int(batch.cls[row, slot])]
            words = {COLOUR_NAMES[variant - 1]} if variant else set(entry.natural)
            assert not words & set(ground.hides) and ground.name not in words


def test_every_pair_has_a_background_left() -> None:
    shown = tables().sayable.copy()
    shown[:, 0] = True
    visible = tables().visible[shown].astype(int)
    assert (visible @ visible.T).min() >= 1 and visible.sum(axis=1).min() >= 4


def test_everything_stands_out(batch: SceneBatch) -> None:
    visible = tables().visible[batch.cls, batch.variant, batch.background[:, None]]
    assert visible[batch.valid.numpy()].all()


def test_squares_stay_inside_and_apart(batch: SceneBatch) -> None:
    boxes, valid = batch.boxes(), batch.valid
    inside = boxes[valid]
    assert inside.min() >= MARGIN - 1e-4 and inside.max() <= 1 - MARGIN + 1e-4
    for first in range(4):
        for second in range(first + 1, 4):
            both = valid[:, first] & valid[:, second]
            a, b = boxes[both, first], boxes[both, second]
            meet = torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])
            assert (meet.amin(dim=1) < 0).all()


def test_relation_is_what_the_picture_shows(batch: SceneBatch) -> None:
    pairs = batch[batch.relation >= 0]
    dx, dy = pairs.cx[:, 0] - pairs.cx[:, 1], pairs.cy[:, 0] - pairs.cy[:, 1]
    shown = torch.where(dx.abs() > dy.abs(), (dx > 0).long(), 2 + (dy > 0).long())
    assert torch.equal(shown, pairs.relation)
    assert (torch.maximum(dx.abs(), dy.abs()) > 2 * torch.minimum(dx.abs(), dy.abs())).all()


def test_placed_lone_objects_stand_at_the_side_that_is_said() -> None:
    tasks = {"single": 1.0, "colour": 1.0}
    drawn = sample_scenes(2000, 7, "train", tasks, Odds(placed_single=0.5))
    placed = drawn.relation >= 0
    assert 0.4 < placed.float().mean() < 0.6 and torch.equal(placed, drawn.say_relation)
    offset = torch.stack([drawn.cx[:, 0], drawn.cy[:, 0]], 1)[placed] - 0.5
    axis, sign = drawn.relation[placed] // 2, drawn.relation[placed] % 2 * 2 - 1
    along = offset.gather(1, axis[:, None])[:, 0] * sign
    across = offset.gather(1, 1 - axis[:, None])[:, 0]
    assert along.min() > 0.1 and across.abs().max() <= 0.1 + 1e-6
    low, high = drawn.boxes()[:, 0, :2], drawn.boxes()[:, 0, 2:]
    assert low.min() >= MARGIN - 1e-6 and high.max() <= 1 - MARGIN + 1e-6
    # Without them nothing is drawn in their place.
    assert torch.equal(sample_scenes(500, 7).cx, sample_scenes(500, 7, odds=Odds()).cx)
    assert not sample_scenes(500, 7, "train", tasks).say_relation.any()


def test_tasks_are_what_they_say() -> None:
    drawn = sample_scenes(N, 2)
    number = drawn.valid.sum(dim=1)
    for index, name in enumerate(TASKS):
        rows = drawn.task == index
        assert rows.any()
        if name in ("two", "position", "binding"):
            assert (number[rows] == 2).all()
            assert (drawn.cls[rows, 0] != drawn.cls[rows, 1]).all()
        elif name == "count":
            assert number[rows].unique().tolist() == [1, 2, 3, 4]
        else:
            assert (number[rows] == 1).all()
        painted = drawn.variant[rows] > 0
        if name == "binding":
            assert painted[:, :2].all()
            assert (drawn.variant[rows, 0] != drawn.variant[rows, 1]).all()
        if name in ("single", "two", "position"):
            assert not painted.any()
        assert drawn.say_relation[rows].all() == (name == "position")
    assert tables().sayable[drawn.cls, drawn.variant][drawn.variant.numpy() > 0].all()


def test_views_and_slices(batch: SceneBatch) -> None:
    for row in range(50):
        scene = batch.scene(row)
        assert len(scene.objects) == int(batch.valid[row].sum())
    assert len(batch[10:20]) == 10
    again = SceneBatch.concatenate([batch[:7], batch[7:]])
    assert torch.equal(again.cls, batch.cls)


def test_tight_boxes_lie_in_the_squares() -> None:
    drawn = sample_scenes(100, 0)
    extent = torch.rand(len(load_classes()), 2) * 0.5 + 0.5
    tight, square = drawn.boxes(extent), drawn.boxes()
    assert (tight[..., :2] >= square[..., :2] - 1e-6).all()
    assert (tight[..., 2:] <= square[..., 2:] + 1e-6).all()


def test_sampling_is_fast() -> None:
    sample_scenes(100, 0)
    start = time.process_time()
    sample_scenes(20_000, 0)
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "at least 1"),
        ({"split": "test"}, "split must be"),
        ({"tasks": {"portrait": 1.0}}, "unknown tasks"),
        ({"tasks": {"single": 0.0}}, "not all 0"),
        ({"split": "heldout", "tasks": {"single": 1.0}}, "has only"),
    ],
)
def test_bad_requests_are_explained(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample_scenes(**{"n": 4, "seed": 0, **arguments})


def test_impossible_scenes_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be drawn"):
        SceneObject("rabbit", "green", 0.5, 0.5, 0.5)
    apple = SceneObject("apple", "red", 0.5, 0.5, 0.5)
    with pytest.raises(ValueError, match="two objects"):
        Scene("two", (apple,), "white")
    with pytest.raises(ValueError, match="background"):
        Scene("single", (apple,), "plaid")

"""Prompt specifications as JSON, and the set that ships."""

from __future__ import annotations

from collections import Counter

import pytest

from toprovar.evaluation.compositional import (
    TASKS,
    ObjectSpec,
    PromptSpec,
    bundled_prompts,
    read_prompts,
    write_prompts,
)

EVERY = [
    PromptSpec("single", "a cat", (ObjectSpec("cat"),), background="blue"),
    PromptSpec("two", "a cat and a dog", (ObjectSpec("cat"), ObjectSpec("dog"))),
    PromptSpec("counting", "three red cats", (ObjectSpec("cat", "red", 3),)),
    PromptSpec("colours", "a red cat", (ObjectSpec("cat", "red"),), split="heldout"),
    PromptSpec("position", "a cat above a dog", (ObjectSpec("cat"), ObjectSpec("dog")), "above"),
    PromptSpec(
        "binding", "a red cat and a blue dog",
        (ObjectSpec("cat", "red"), ObjectSpec("dog", "blue")),
    ),
]


def test_round_trip(tmp_path):
    write_prompts(tmp_path / "p.json", EVERY)
    assert read_prompts(tmp_path / "p.json") == EVERY


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "size"}, "task must be one of"),
        ({"task": "two"}, "takes 2 objects"),
        ({"relation": "left"}, "belongs to task position"),
        ({"task": "colours"}, "needs a colour"),
        ({"objects": [{"class": "cat", "count": 2}]}, "only task counting"),
        ({"objects": [{"class": "cat", "size": 2}]}, "unknown size"),
        ({"colour": "red"}, "unknown colour"),
        ({"text": " "}, "needs a text"),
        ({"split": "train"}, "split must be one of"),
    ],
)
def test_bad_prompts_are_refused(changes, message):
    good = {"task": "single", "text": "a cat", "objects": [{"class": "cat"}]}
    with pytest.raises(ValueError, match=message):
        PromptSpec.from_json({**good, **changes})


def test_shipped_set_is_whole():
    prompts = bundled_prompts()
    seen = Counter((p.task, p.split) for p in prompts)
    assert {task for task, _ in seen} == set(TASKS)
    assert all(80 <= count <= 120 for count in seen.values())
    for task, split in seen:
        texts = [p.text for p in bundled_prompts(split, task)]
        assert len(texts) == len(set(texts)) == seen[task, split]


def test_shipped_set_is_that_of_the_catalogue():
    """Scenes, prompts and truth agree, so the score of flawless detections is 1."""
    from training.data.holdout import tables
    from training.data.scene_batch import RELATIONS
    from training.judge.prompt_set import prompt_set

    scenes, prompts = prompt_set()
    assert prompts == bundled_prompts()
    held = tables()
    for row, prompt in enumerate(prompts):
        cls, variant = scenes.cls[row].tolist(), scenes.variant[row].tolist()
        colour = any(held.held_colour[c, v] for c, v in zip(cls[:2], variant[:2], strict=True))
        relation = prompt.relation is not None and bool(
            held.held_relation[cls[0], cls[1], RELATIONS.index(prompt.relation)]
        )
        assert (colour or relation) == (prompt.split == "heldout"), prompt


@pytest.mark.parametrize("text", [
    "", "[" * 100_000, "7", '[{"task": "single"}]', '[{"task": "size", "text": "a"}]',
    '[{"task": "single", "text": 5, "objects": [{"class": "cat"}]}]', '["x"]', "\x1b[2J",
    '[{"task": "single", "text": "a", "objects": [{"class": "cat", "count": "2"}]}]',
])
def test_a_damaged_file_is_named(text, tmp_path):
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(ValueError, match=r"p\.json: not a usable prompt set") as error:
        read_prompts(tmp_path / "p.json")
    assert str(error.value).isprintable()

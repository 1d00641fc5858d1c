"""Scenes for given prompts, the parts of sprites, and splits by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from toprovar.evaluation.compositional import ObjectSpec, PromptSpec, bundled_prompts
from training.data.asked import scenes_for
from training.data.catalog import load_classes
from training.data.holdout import tables
from training.data.parts import Part, load_parts
from training.data.scenes import sample_scenes
from training.judge.prompt_set import prompt_of


def test_scenes_are_what_their_prompts_ask_for() -> None:
    prompts = bundled_prompts()[::7]
    scenes = scenes_for(prompts, 1)
    for row, prompt in enumerate(prompts):
        scene = scenes.scene(row)
        told = prompt_of(scene, prompt.text, prompt.split)
        assert told.task == prompt.task and told.objects == prompt.objects
        assert prompt.relation in (None, told.relation)
        if prompt.background is not None:
            assert scene.background == prompt.background


def test_places_and_grounds_follow_the_seed() -> None:
    prompts = bundled_prompts("seen", "position")[:40]
    a, b, c = scenes_for(prompts, 1), scenes_for(prompts, 1), scenes_for(prompts, 2)
    assert torch.equal(a.cx, b.cx) and torch.equal(a.background, b.background)
    assert not torch.equal(a.cx, c.cx) and torch.equal(a.cls, c.cls)
    assert torch.equal(a.relation, c.relation)


def test_what_no_sprite_shows_is_refused() -> None:
    with pytest.raises(ValueError, match="no sprite of a 'zebra'"):
        scenes_for([PromptSpec("single", "a zebra", (ObjectSpec("zebra"),))], 0)
    with pytest.raises(ValueError, match="1 to 4 objects"):
        scenes_for([PromptSpec("counting", "nine cats", (ObjectSpec("cat", None, 9),))], 0)
    with pytest.raises(ValueError, match="no prompts"):
        scenes_for([], 0)


def test_every_class_has_parts_and_faces_have_two_eyes() -> None:
    parts = dict(zip((e.name for e in load_classes()), load_parts(), strict=True))
    assert all(len(own) >= 2 for own in parts.values())
    for name in ("dog", "cat", "pig", "rabbit", "frog", "penguin"):
        eyes = {p.name: p.box for p in parts[name] if "eye" in p.name}
        assert set(eyes) == {"left eye", "right eye"}
        assert eyes["left eye"][2] <= eyes["right eye"][0] + 1e-6


def test_a_damaged_parts_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "parts.json"
    path.write_text(json.dumps({"cat": {"eye": [0, 0, 1, 1]}}))
    with pytest.raises(ValueError, match=r"parts\.json and classes\.json differ"):
        load_parts(path)
    path.write_text(json.dumps({e.name: {} for e in load_classes()}))
    with pytest.raises(ValueError, match="has no parts"):
        load_parts(path)
    with pytest.raises(ValueError, match="no box inside the sprite"):
        Part("eye", (0.5, 0.0, 0.4, 1.0))


def test_another_salt_is_another_split_of_the_same_kind() -> None:
    first, second = tables(), tables("v2")
    assert (first.held_colour != second.held_colour).any()
    assert 0.05 < second.held_relation.mean() / 0.98 < 0.2
    shown = sample_scenes(2000, 4, tasks={"colour": 1.0}, salt="v2")
    assert not second.held_colour[shown.cls[:, 0], shown.variant[:, 0]].any()
    assert first.held_colour[shown.cls[:, 0], shown.variant[:, 0]].any()

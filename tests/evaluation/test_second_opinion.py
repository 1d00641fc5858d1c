"""The template matcher, near misses and shuffled prompts."""

from __future__ import annotations

import torch

from toprovar.evaluation.compositional import bundled_prompts
from training.data.compose import compose
from training.data.scenes import sample_scenes
from training.judge.labels import labels_of
from training.judge.near_miss import near_misses, shuffled
from training.judge.prompt_set import prompt_set
from training.judge.template import TemplateMatcher, background
from training.judge.truth import tally, truths_of
from training.judge.validation import oracle


def test_matcher_finds_what_was_drawn(patterns):
    scenes = sample_scenes(3, 4, tasks={"binding": 1.0})
    images = compose(scenes, patterns, 256, as_float=True)
    truths = truths_of(labels_of(scenes, patterns.extent))
    sizes = [0.34 + 0.02 * step for step in range(7)]
    result = tally(TemplateMatcher(patterns, sizes).detect(images), truths)
    assert result.recall == 1.0 and result.precision == 1.0


def test_background_is_fitted_through_what_lies_at_the_edge():
    scenes = sample_scenes(8, 4)
    scenes.valid.zero_()
    from training.data.atlas import SpriteAtlas

    blank = SpriteAtlas(torch.zeros(48, 11, 4, 8, 8, dtype=torch.uint8), torch.ones(48, 2))
    images = compose(scenes, blank, 64, as_float=True)
    spoilt = images.clone()
    spoilt[:, :, 10:24, :4] = 0.5
    assert (background(spoilt) - images).abs().mean() < 0.02


def test_near_misses_ask_for_what_is_not_there(patterns):
    scenes, prompts = prompt_set(12)
    truths = truths_of(labels_of(scenes, patterns.extent))
    assert oracle(truths, prompts).overall == 1.0
    assert oracle(truths, near_misses(prompts, 1)).overall == 0.0


def test_shuffled_prompts_are_all_of_another_picture():
    prompts = bundled_prompts()
    mixed = shuffled(prompts, 1)
    assert sorted(p.text for p in mixed) == sorted(p.text for p in prompts)
    assert all(a.task == b.task and a.split == b.split for a, b in zip(prompts, mixed, strict=True))
    assert not any(a is b for a, b in zip(prompts, mixed, strict=True))

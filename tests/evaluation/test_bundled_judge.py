"""The judge that ships: it must see what is there, and not see what is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from toprovar.evaluation import compositional
from toprovar.evaluation.compositional import Judge, bundled_prompts, read_prompts
from training.data.catalog import load_classes
from training.data.colours import COLOUR_NAMES
from training.judge.near_miss import near_misses, shuffled
from training.judge.pictures import composed
from training.judge.prompt_set import prompt_set

EXAMPLES = Path(__file__).with_name("data")
MOST_BYTES = 8 * 2**20


def examples():
    pictures = [np.asarray(Image.open(path)) for path in sorted(EXAMPLES.glob("*.jpg"))]
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return images, read_prompts(EXAMPLES / "prompts.json")


def test_knows_the_catalogue_and_is_small(bundled):
    assert bundled.classes == tuple(entry.name for entry in load_classes())
    assert bundled.colours == COLOUR_NAMES
    for prompt in bundled_prompts():
        bundled.check(prompt)
    data = Path(compositional.__file__).with_name("data")
    assert sum(path.stat().st_size for path in data.iterdir()) <= MOST_BYTES


def test_example_pictures(bundled: Judge):
    images, prompts = examples()
    assert bundled.score(images, prompts).overall >= 0.95
    assert bundled.score(images, near_misses(prompts, 1)).overall <= 0.05


def test_fresh_scenes(bundled: Judge, art):
    scenes, prompts = prompt_set(8)
    images = composed(scenes, art).images
    assert bundled.score(images, prompts).overall >= 0.95
    assert bundled.score(images, shuffled(prompts, 1)).overall <= 0.1
    assert bundled.score(torch.rand(len(prompts), 3, 256, 256), prompts).overall <= 0.02

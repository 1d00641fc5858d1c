"""Fresh scenes that fulfil given prompts: what a perfect generator would draw for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toprovar.evaluation.compositional.prompts import PromptSpec
from training.data.catalog import class_index, load_classes
from training.data.colours import BACKGROUND_NAMES, COLOUR_NAMES
from training.data.layouts import place_group, place_pair, place_single
from training.data.scene_batch import RELATIONS, SLOTS, TASKS, SceneBatch
from training.data.scenes import Odds, Sampler

_TASKS = {"single": "single", "two": "two", "counting": "count", "colours": "colour",
          "position": "position", "binding": "binding"}


def scenes_for(prompts: Sequence[PromptSpec], seed: int) -> SceneBatch:
    """One scene for each prompt, with places, sizes and grounds drawn as in training.

    Args:
        seed: of all that the prompts leave open.

    Raises:
        ValueError: a prompt about a class or colour that the sprites do not have.
    """
    if not prompts:
        raise ValueError("there are no prompts to draw scenes for")
    return _Asked(np.random.default_rng([seed, 71]), "eval", Odds()).asked(prompts)


class _Asked(Sampler):
    """A sampler whose classes, colours and relations are given."""

    def asked(self, prompts: Sequence[PromptSpec]) -> SceneBatch:
        count = len(prompts)
        self.empty(count)
        task = np.array([TASKS.index(_TASKS[p.task]) for p in prompts])
        for row, prompt in enumerate(prompts):
            self._name(row, prompt)
        said = np.array([p.background is not None for p in prompts])
        valid = np.arange(SLOTS) < self.number[:, None]
        ground = self._background(valid, said)
        for row, prompt in enumerate(prompts):
            if prompt.background is not None:
                ground[row] = BACKGROUND_NAMES.index(prompt.background)
        return self.batch(task, valid, ground, said)

    def _name(self, row: int, prompt: PromptSpec) -> None:
        rows = np.array([row])
        for slot, thing in enumerate(prompt.objects):
            last = slot + (thing.count if prompt.task == "counting" else 1)
            self.cls[row, slot:last], self.variant[row, slot:last] = _sprite(
                thing.cls, thing.colour)
        if len(prompt.objects) == 2:
            relation = self.rng.integers(0, len(RELATIONS))
            if prompt.relation is not None:
                relation = RELATIONS.index(prompt.relation)
                self.say_relation[row] = True
            self.number[row], self.relation[row] = 2, relation
            self.centre[rows, :2], self.size[rows, :2] = place_pair(self.rng, np.array([relation]))
        elif prompt.task == "counting":
            self.number[row] = prompt.objects[0].count
            if not 1 <= self.number[row] <= SLOTS:
                raise ValueError(f"a scene has 1 to {SLOTS} objects: {prompt.text!r}")
            self.centre[rows], self.size[rows] = place_group(self.rng, self.number[rows])
        else:
            self.centre[rows, 0], self.size[rows, 0] = place_single(self.rng, 1)


def _sprite(cls: str, colour: str | None) -> tuple[int, int]:
    """Class and variant of a sprite."""
    try:
        index = class_index(cls)
    except KeyError as error:
        raise ValueError(f"there is no sprite of a {cls!r}") from error
    if colour is None:
        return index, 0
    if colour not in load_classes()[index].sayable():
        raise ValueError(f"there is no {colour} {cls} among the sprites")
    return index, 1 + COLOUR_NAMES.index(colour)


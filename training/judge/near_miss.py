"""Prompts that a picture just fails to fulfil, and prompts of other pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from toprovar.evaluation.compositional.prompts import TASKS, ObjectSpec, PromptSpec
from training.data.catalog import load_classes
from training.data.scene_batch import INVERSE, RELATIONS


def near_misses(prompts: Sequence[PromptSpec], seed: int) -> list[PromptSpec]:
    """The same prompts with one thing changed: a class, the number, a colour, the side."""
    rng = np.random.default_rng([seed, 5])
    return [_missed(prompt, rng) for prompt in prompts]


def _missed(prompt: PromptSpec, rng: np.random.Generator) -> PromptSpec:
    first, *rest = prompt.objects
    if prompt.task == "counting":
        step = 1 if first.count == 1 or rng.random() < 0.5 else -1
        changed = (replace(first, count=first.count + step),)
    elif prompt.task == "colours":
        able = [c for c in _entry(first).sayable() if c != first.colour]
        if not able:  # it comes in one colour only
            return replace(prompt, objects=(_other(prompt, rng, first.colour),))
        changed = (replace(first, colour=able[rng.integers(len(able))]),)
    elif prompt.task == "binding":
        second = rest[0]
        changed = (
            replace(first, colour=second.colour), replace(second, colour=first.colour)
        )
    elif prompt.relation is not None:
        opposite = RELATIONS[INVERSE[RELATIONS.index(prompt.relation)]]
        return replace(prompt, relation=opposite, text=f"not: {prompt.text}")
    else:
        changed = (_other(prompt, rng, None), *rest)
    return replace(prompt, objects=changed, text=f"not: {prompt.text}")


def _entry(thing: ObjectSpec):
    return next(entry for entry in load_classes() if entry.name == thing.cls)


def _other(prompt: PromptSpec, rng: np.random.Generator, colour: str | None) -> ObjectSpec:
    """An object of a class that the prompt does not name."""
    taken = {thing.cls for thing in prompt.objects}
    names = [entry.name for entry in load_classes() if entry.name not in taken]
    return ObjectSpec(names[rng.integers(len(names))], colour)


def shuffled(prompts: Sequence[PromptSpec], seed: int) -> list[PromptSpec]:
    """Every picture gets the prompt of another one of its task and split."""
    rng = np.random.default_rng([seed, 6])
    out = list(prompts)
    for task in TASKS:
        for split in sorted({p.split for p in prompts}):
            rows = [i for i, p in enumerate(prompts) if (p.task, p.split) == (task, split)]
            order = rng.permutation(len(rows))
            # A cyclic shift along a random order leaves nothing in place.
            for a, b in zip(order, np.roll(order, 1), strict=True):
                out[rows[a]] = prompts[rows[b]]
    return out

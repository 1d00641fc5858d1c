"""The judge's prompt set, and the scenes that fulfil it.

``python -m training.judge.prompt_set --out FILE`` writes the prompts that ship with the judge.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from toprovar.evaluation.compositional.prompts import ObjectSpec, PromptSpec, write_prompts
from training.data.captions import canonical
from training.data.scene_batch import Scene, SceneBatch
from training.data.scenes import HELDOUT_TASKS, Odds, Split, sample_scenes

COUNT = 100
BUNDLED = Path("toprovar/evaluation/compositional/data/prompts.json")
_SEED = 1
_DRAWN = 4000
_AT_ONCE = 100
_LEAST = 2
"""Fewest objects in task counting, as in GenEval."""
_TASKS = {
    "single": "single",
    "two": "two",
    "count": "counting",
    "colour": "colours",
    "position": "position",
    "binding": "binding",
}
_SPLITS: dict[Split, str] = {"eval": "seen", "heldout": "heldout"}


def prompt_set(count: int = COUNT) -> tuple[SceneBatch, list[PromptSpec]]:
    """Up to ``count`` different prompts of every task and split, each with a scene that fulfils it.

    Where a task has fewer prompts than that, the rest name a background as well.
    """
    scenes, prompts = [], []
    for split, spoken in _SPLITS.items():
        for task in _TASKS:
            if split == "heldout" and task not in HELDOUT_TASKS:
                continue
            taken: set[str] = set()
            for ground in (0.0, 1.0):
                found = _different(task, split, spoken, ground, count - len(taken), taken)
                scenes.append(found[0])
                prompts += found[1]
    return SceneBatch.concatenate(scenes), prompts


def _different(
    task: str, split: Split, spoken: str, ground: float, count: int, taken: set[str]
) -> tuple[SceneBatch, list[PromptSpec]]:
    """Prompts of one kind that are not in ``taken`` yet, which gets them."""
    if count < 1:
        return sample_scenes(1, _SEED, split, {task: 1.0})[:0], []
    odds = Odds(say_background=ground, coloured_count=0.0, placed_binding=0.0)
    batch = sample_scenes(_DRAWN, _SEED, split, {task: 1.0}, odds)
    rows, prompts = [], []
    for row, text in _texts(batch):
        if len(rows) >= count:
            break
        few = task == "count" and int(batch.valid[row].sum()) < _LEAST
        # One prompt of a task for the same objects is enough, whatever the background.
        if not few and text not in taken:
            taken.add(text)
            rows.append(row)
            prompts.append(prompt_of(batch.scene(row), text, spoken))
    keep = batch.task < 0
    keep[rows] = True
    return batch[keep], prompts


def _texts(batch: SceneBatch) -> Iterator[tuple[int, str]]:
    """Terse prompts, made only as far as they are asked for."""
    for start in range(0, len(batch), _AT_ONCE):
        texts = canonical(batch[start : start + _AT_ONCE])
        yield from enumerate(texts, start)


def prompt_of(scene: Scene, text: str, split: str = "seen") -> PromptSpec:
    """What a scene's caption asks for."""
    if scene.task == "count":
        first = scene.objects[0]
        objects = (ObjectSpec(first.cls, first.colour, len(scene.objects)),)
    else:
        objects = tuple(ObjectSpec(thing.cls, thing.colour) for thing in scene.objects)
    return PromptSpec(
        _TASKS[scene.task],
        text,
        objects,
        scene.relation if scene.task == "position" else None,
        scene.background if scene.say_background else None,
        split,
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the judge's prompt set.")
    parser.add_argument("--out", type=Path, default=BUNDLED)
    parser.add_argument("--count", type=int, default=COUNT, help="prompts a task")
    given = parser.parse_args(argv)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write_prompts(given.out, prompt_set(given.count)[1])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""What a picture is asked to show, and the prompt sets that ship with the judge."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

TASKS = ("single", "two", "counting", "colours", "position", "binding")
"""The six tasks of GenEval: one object, two objects, counting, colours, position, and colours
bound to two objects."""
RELATIONS = ("left", "right", "above", "below")
"""Where the first object lies as seen from the second."""
SPLITS = ("seen", "heldout")
"""Whether training showed the asked combination of class and colour or classes and relation."""
_PACKAGE = "toprovar.evaluation.compositional"
_BUNDLED = "data/prompts.json"


@dataclass(frozen=True)
class ObjectSpec:
    """Objects that are asked for; ``colour`` None where any will do."""

    cls: str
    colour: str | None = None
    count: int = 1

    def __post_init__(self) -> None:
        if not self.cls:
            raise ValueError("an object needs a class")
        if self.count < 1:
            raise ValueError(f"count of {self.cls} must be at least 1, got {self.count}")


@dataclass(frozen=True)
class PromptSpec:
    """One prompt and what it asks for.

    Attributes:
        task: one of TASKS.
        text: the prompt.
        objects: what must be seen; two different classes in the tasks about two objects.
        relation: of the first object to the second, in task "position".
        background: the background's colour where the prompt names one. It is not scored.
        split: one of SPLITS.
    """

    task: str
    text: str
    objects: tuple[ObjectSpec, ...]
    relation: str | None = None
    background: str | None = None
    split: str = "seen"

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"task must be one of {', '.join(TASKS)}, got {self.task!r}")
        if self.split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {self.split!r}")
        if not self.text.strip():
            raise ValueError("a prompt needs a text")
        pair = self.task in ("two", "position", "binding")
        if len(self.objects) != 1 + pair:
            raise ValueError(f"task {self.task} takes {1 + pair} objects: {self.text!r}")
        if pair and self.objects[0].cls == self.objects[1].cls:
            raise ValueError(f"task {self.task} takes two different classes: {self.text!r}")
        if (self.relation is not None) != (self.task == "position"):
            raise ValueError(f"a relation belongs to task position only: {self.text!r}")
        if self.relation is not None and self.relation not in RELATIONS:
            raise ValueError(f"relation must be one of {', '.join(RELATIONS)}: {self.text!r}")
        if self.task in ("colours", "binding") and any(o.colour is None for o in self.objects):
            raise ValueError(f"task {self.task} needs a colour for every object: {self.text!r}")
        if self.task != "counting" and any(o.count != 1 for o in self.objects):
            raise ValueError(f"only task counting asks for several: {self.text!r}")

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is None or usual is left out."""
        out: dict[str, Any] = {"task": self.task, "text": self.text, "objects": []}
        for thing in self.objects:
            row: dict[str, Any] = {"class": thing.cls}
            if thing.colour is not None:
                row["colour"] = thing.colour
            if thing.count != 1:
                row["count"] = thing.count
            out["objects"].append(row)
        for name in ("relation", "background"):
            if getattr(self, name) is not None:
                out[name] = getattr(self, name)
        if self.split != "seen":
            out["split"] = self.split
        return out

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> PromptSpec:
        known = {"task", "text", "objects", "relation", "background", "split"}
        if unknown := sorted(set(values) - known):
            raise ValueError(f"unknown {', '.join(unknown)} in a prompt; known: {sorted(known)}")
        rest = {k: v for k, v in values.items() if k != "objects"}
        objects = []
        for row in values["objects"]:
            if unknown := sorted(set(row) - {"class", "colour", "count"}):
                raise ValueError(f"unknown {', '.join(unknown)} in an object of a prompt")
            objects.append(ObjectSpec(row["class"], row.get("colour"), row.get("count", 1)))
        return cls(objects=tuple(objects), **rest)


def write_prompts(path: Path | str, prompts: Iterable[PromptSpec]) -> None:
    """Write a prompt set, one prompt a line."""
    rows = ",\n".join(json.dumps(p.to_json(), ensure_ascii=False) for p in prompts)
    Path(path).write_text(f"[\n{rows}\n]\n", encoding="utf-8")


def read_prompts(path: Path | str) -> list[PromptSpec]:
    """Read a prompt set; a ValueError names the file and what is wrong with it."""
    try:
        return _parsed(Path(path).read_text(encoding="utf-8"))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        told = ascii(str(error))[1:-1][:300]  # a file's words must not write to a terminal
        raise ValueError(f"{path}: not a usable prompt set ({type(error).__name__}: {told}): "
                         "expected a list of prompts as write_prompts writes it") from None


def bundled_prompts(split: str | None = None, task: str | None = None) -> list[PromptSpec]:
    """The prompt set that ships with the judge, all of it or one split or task of it."""
    text = resources.files(_PACKAGE).joinpath(_BUNDLED).read_text(encoding="utf-8")
    return [
        p for p in _parsed(text) if split in (None, p.split) and task in (None, p.task)
    ]


def _parsed(text: str) -> list[PromptSpec]:
    return [PromptSpec.from_json(row) for row in json.loads(text)]

"""Captions of scenes: natural wordings for training, terse ones for evaluation.

Wordings are picked by each scene's ``caption_seed``, so a scene has one caption wherever and
whenever it is asked for. A caption is made as a tuple of words; text and token ids both come from
it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from training.data import words as w
from training.data.catalog import load_classes
from training.data.colours import BACKGROUND_NAMES, COLOUR_NAMES
from training.data.scene_batch import RELATIONS, TASKS, SceneBatch

_SYNONYM = 0.10
_DIGIT = 0.20
_MIRROR = 0.30
_LEADING = 0.12
_TRAILING = 0.12
_GREY = 0.25
_STOP = 0.06


@dataclass(frozen=True)
class _Choice:
    """Weighted wordings, each split into words; drawn by one number in 0–1."""

    options: tuple[tuple[str, ...], ...]
    edges: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.options) != len(self.edges):
            raise ValueError("one edge for each option")

    @classmethod
    def of(cls, table: Sequence[tuple[str, float]]) -> _Choice:
        weights = np.array([weight for _, weight in table])
        edges = np.cumsum(weights / weights.sum())
        edges[-1] = 1.0
        return cls(tuple(tuple(text.split()) for text, _ in table), tuple(edges.tolist()))

    def pick(self, number: float) -> tuple[str, ...]:
        for option, edge in zip(self.options, self.edges, strict=True):
            if number < edge:
                return option
        return self.options[-1]


_STYLE = _Choice.of(w.STYLES)
_PLAIN = _Choice.of(w.PLAIN_PHRASES)
_COLOURED = _Choice.of(w.COLOUR_PHRASES)
_GROUND = _Choice.of(w.GROUNDS)
_SINGLE = _Choice.of(w.SINGLE)
_COUNTED = _Choice.of(w.COUNTED)
_TWO = _Choice.of(w.TWO)
_SIDE = _Choice.of(w.TWO + w.BESIDE)
_ALONE = {name: _Choice.of(table) for name, table in w.ALONE.items()}
_PLACED = {name: _Choice.of(table) for name, table in w.PLACED.items()}
_SIDES = {
    "left": "on the left", "right": "on the right", "above": "at the top",
    "below": "at the bottom",
}
_MIRRORED = {"left": "right", "right": "left", "above": "below", "below": "above"}


def caption_words(batch: SceneBatch) -> list[tuple[str, ...]]:
    """The caption of every scene, as lower-case words and commas."""
    # Plain lists are much quicker to walk than tensors.
    columns = [
        getattr(batch, name).tolist()
        for name in ("task", "cls", "variant", "relation", "background")
    ]
    said = zip(batch.say_relation.tolist(), batch.say_background.tolist(), strict=True)
    number = batch.valid.sum(dim=1).tolist()
    draws = _draws(batch.caption_seed.numpy(force=True)).tolist()
    rows = zip(*columns, said, number, draws, strict=True)
    return [(*_one(*row), ".") if row[-1][10] < _STOP else _one(*row) for row in rows]


def captions(batch: SceneBatch) -> list[str]:
    """The caption of every scene, as text."""
    return [to_text(words) for words in caption_words(batch)]


def canonical(batch: SceneBatch) -> list[str]:
    """The terse prompt of every scene, the same for all scenes that ask for the same."""
    out = []
    for row in range(len(batch)):
        scene = batch.scene(row)
        nouns = {entry.name: entry for entry in load_classes()}
        if scene.task == "count":
            entry, colour = nouns[scene.objects[0].cls], scene.objects[0].colour
            many = len(scene.objects)
            noun = entry.name if many == 1 else entry.plural
            parts = [w.NUMBERS[many - 1], *([colour] if colour else []), noun]
        else:
            phrases = []
            for thing in scene.objects:
                head = [thing.colour] if thing.colour else []
                phrases.append([_article((head or [thing.cls])[0]), *head, thing.cls])
            parts = phrases[0]
            if len(phrases) == 2:
                link = "and"
                if scene.say_relation and scene.relation:
                    link = {"left": "to the left of", "right": "to the right of"}.get(
                        scene.relation, scene.relation
                    )
                parts = [*parts, *link.split(), *phrases[1]]
            elif scene.say_relation and scene.relation:
                parts = [*parts, *_SIDES[scene.relation].split()]
        if scene.say_background:
            ground = scene.background
            parts = [*parts, "on", _article(ground), ground, "background"]
        out.append(" ".join(parts))
    return out


def to_text(words: Sequence[str]) -> str:
    """Words joined as one writes them; a comma or full stop follows its word at once."""
    return " ".join(words).replace(" ,", ",").replace(" .", ".")


def vocabulary() -> list[str]:
    """Every word a caption can have, and some that people type, sorted."""
    found: set[str] = {",", ".", *w.NUMBERS, *w.DIGITS, *w.GREY, *w.EXTRA_WORDS}
    for entry in load_classes():
        found.update((entry.name, entry.plural))
        found.update(word for pair in entry.synonyms for word in pair)
    found.update(COLOUR_NAMES, BACKGROUND_NAMES, ("a", "an"))
    tables = [w.STYLES, w.PLAIN_PHRASES, w.COLOUR_PHRASES, w.GROUNDS, w.SINGLE, w.COUNTED]
    tables += [w.TWO, w.BESIDE, *w.PLACED.values(), *w.ALONE.values()]
    texts = [text for table in tables for text, _ in table]
    for text in (*texts, *w.LEADING_GROUND, *w.TRAILING_GROUND):
        found.update(word for word in text.split() if not re.fullmatch(r"\{\w+\}", word))
    return sorted(found)


_NUMBERS_NEEDED = 11


def _draws(seeds: np.ndarray) -> np.ndarray:
    """Eleven numbers in 0–1 from each seed: float64 [B, 11], by the splitmix64 sequence."""
    steps = np.arange(1, _NUMBERS_NEEDED + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        state = seeds.astype(np.uint64)[:, None] * np.uint64(0xD1342543DE82EF95)
        state = state + steps * np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


@cache
def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _nouns(cls: int, number: float) -> tuple[str, str]:
    entry = load_classes()[cls]
    if entry.synonyms and number < _SYNONYM:
        return entry.synonyms[int(number / _SYNONYM * len(entry.synonyms))]
    return entry.name, entry.plural


def _thing(cls: int, variant: int, wording: float, naming: float) -> list[str]:
    """One object as a phrase."""
    noun = _nouns(cls, naming)[0]
    if not variant:
        slots = {"{an}": [_article(noun)], "{o}": [noun]}
        return list(_filled(_PLAIN.pick(wording), slots))
    colour = COLOUR_NAMES[variant - 1]
    slots = {
        "{an}": [_article(colour)],
        "{o}": [colour, noun],
        "{ax}": [_article(noun)],
        "{x}": [noun],
        "{c}": [colour],
    }
    return list(_filled(_COLOURED.pick(wording), slots))


def _group(cls: int, variant: int, number: int, wording: float, naming: float) -> list[str]:
    """A counted group as a phrase."""
    noun = _nouns(cls, naming)[number > 1]
    count = (w.DIGITS if wording < _DIGIT else w.NUMBERS)[number - 1]
    return [count, *([COLOUR_NAMES[variant - 1]] if variant else []), noun]


def _filled(template: Sequence[str], slots: dict[str, list[str]]) -> Iterator[str]:
    for word in template:
        if word[0] == "{":
            yield from slots[word]
        else:
            yield word


def _one(
    task: int,
    cls: list[int],
    variant: list[int],
    relation: int,
    background: int,
    said: tuple[bool, bool],
    number: int,
    draw: list[float],
) -> tuple[str, ...]:
    name = TASKS[task]
    slots: dict[str, list[str]] = {"{style}": list(_STYLE.pick(draw[0])), "{ground}": []}
    if name == "count":
        slots["{n}"] = _group(cls[0], variant[0], number, draw[1], draw[2])
        # "there are one cat" is not English, so a lone object speaks as a single one does.
        slots["{a}"] = slots["{n}"]
        table = _SINGLE if number == 1 else _COUNTED
    else:
        first, second = 0, 1
        where = RELATIONS[relation] if relation >= 0 else ""
        if number == 2 and draw[4] < _MIRROR:
            first, second, where = 1, 0, _MIRRORED.get(where, "")
        slots["{a}"] = _thing(cls[first], variant[first], draw[1], draw[2])
        if number == 2:
            slots["{b}"] = _thing(cls[second], variant[second], draw[5], draw[6])
            beside = where in ("left", "right")
            table = _PLACED[where] if said[0] else _SIDE if beside else _TWO
        else:
            table = _ALONE[where] if said[0] else _SINGLE
    template = table.pick(draw[7])
    if not said[1]:
        return tuple(_filled(template, slots))
    ground = BACKGROUND_NAMES[background]
    if ground == w.GREY[0] and draw[3] < _GREY:
        ground = w.GREY[1]
    grounds = {"{ag}": [_article(ground)], "{g}": [ground]}
    if draw[8] < _LEADING and template[0] == "{style}":
        lead = w.LEADING_GROUND[int(draw[8] / _LEADING * len(w.LEADING_GROUND))]
        slots["{style}"] = []
        return (*_filled(lead.split(), grounds), *_filled(template, slots))
    if draw[8] > 1.0 - _TRAILING:
        place = (draw[8] - (1.0 - _TRAILING)) / _TRAILING
        trail = w.TRAILING_GROUND[int(place * len(w.TRAILING_GROUND))].split()
    else:
        trail = list(_GROUND.pick(draw[9]))
    slots["{ground}"] = list(_filled(trail, grounds))
    return tuple(_filled(template, slots))

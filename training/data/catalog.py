"""The object classes, read from ``classes.json`` beside this file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from training.data.colours import BACKGROUND_NAMES, COLOUR_NAMES, NATURAL_NAMES

CLASSES_FILE = Path(__file__).with_name("classes.json")


@dataclass(frozen=True)
class ObjectClass:
    """One kind of object.

    Attributes:
        name: singular noun, one lower-case word, never a colour word.
        plural: plural noun, one lower-case word.
        article: "a" or "an", as ``name`` wants it.
        short_name: its name in emoji.json.
        codepoint: stem of its rendering's file name.
        icon: name of the vector picture that looks like the rendering, None where none does.
        natural: colour words that are true of the rendering as drawn; may be empty.
        recolour: whether one saturated hue covers enough of it to be moved.
        synonyms: (singular, plural) pairs that captions sometimes use instead.
        avoid: background colours on which the rendering as drawn would not stand out, beside
            those that its natural colours rule out.
        avoid_always: backgrounds on which it would not stand out in any colour.
        never: colours that would make it look like something else.
        hue: the dominant hue in degrees where the measured one is not what the eye names.
        hue_range: the band of hues that a recolouring moves, in degrees from the dominant one.
    """

    name: str
    plural: str
    article: str
    short_name: str
    codepoint: str
    natural: tuple[str, ...]
    recolour: bool
    synonyms: tuple[tuple[str, str], ...] = ()
    icon: str | None = None
    avoid: tuple[str, ...] = ()
    avoid_always: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    hue: float | None = None
    hue_range: tuple[float, float] = (-40.0, 40.0)

    def __post_init__(self) -> None:
        words = [self.name, self.plural, *(word for pair in self.synonyms for word in pair)]
        for word in words:
            if not word.isalpha() or not word.islower():
                raise ValueError(f"class {self.name!r}: {word!r} must be one lower-case word")
            if word in NATURAL_NAMES or word in BACKGROUND_NAMES:
                raise ValueError(f"class {self.name!r}: {word!r} is also a colour; choose another")
        if self.article != ("an" if self.name[0] in "aeiou" else "a"):
            raise ValueError(f"class {self.name!r}: article {self.article!r} does not fit")
        for colour in self.natural:
            if colour not in NATURAL_NAMES:
                raise ValueError(
                    f"class {self.name!r}: natural colour {colour!r} is not one of "
                    f"{', '.join(NATURAL_NAMES)}"
                )
        for colour in (*self.avoid, *self.avoid_always):
            if colour not in BACKGROUND_NAMES:
                raise ValueError(f"class {self.name!r}: {colour!r} is no background colour")
        for colour in self.never:
            if colour not in COLOUR_NAMES or colour in self.natural:
                raise ValueError(f"class {self.name!r}: never must name other colours")
        if not -180.0 <= self.hue_range[0] < 0.0 < self.hue_range[1] <= 180.0:
            raise ValueError(f"class {self.name!r}: hue_range must run from -180..0 to 0..180")

    def sayable(self) -> tuple[str, ...]:
        """Colour words that can be asked of it, in palette order."""
        able = COLOUR_NAMES if self.recolour else self.natural
        return tuple(c for c in COLOUR_NAMES if c in able and c not in self.never)


@cache
def load_classes(path: Path = CLASSES_FILE) -> tuple[ObjectClass, ...]:
    """Every class, in the order that is also their index everywhere else."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    classes = []
    for row in rows:
        for name in ("natural", "avoid", "avoid_always", "never"):
            row[name] = tuple(row.get(name, ()))
        row["synonyms"] = tuple(tuple(pair) for pair in row["synonyms"])
        row["hue_range"] = tuple(row.get("hue_range", (-40.0, 40.0)))
        classes.append(ObjectClass(**row))
    nouns = [w for c in classes for w in {c.name, c.plural, *(w for p in c.synonyms for w in p)}]
    twice = sorted({word for word in nouns if nouns.count(word) > 1})
    if twice:
        raise ValueError(f"{path.name}: {', '.join(twice)} name more than one class")
    return tuple(classes)


def class_index(name: str) -> int:
    """Index of the class called ``name``."""
    for index, entry in enumerate(load_classes()):
        if entry.name == name:
            return index
    raise KeyError(f"no class is called {name!r}; see {CLASSES_FILE.name}")

"""Which combinations training never shows, and which pairings could not be seen.

About a tenth of the (class, colour) pairs and of the (class, class, relation) triples are held
out, by a hash of their names, so that adding a class moves no other decision. A colour that is
natural to a class is never held out: the plain noun shows it already.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from training.data.catalog import load_classes
from training.data.colours import BACKGROUND_COLOURS, COLOUR_NAMES
from training.data.scene_batch import INVERSE, RELATIONS

_ONE_IN = 10
SALT = "v1"
"""Names the split that the embedded model was taught; another name gives another split."""
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Tables:
    """Read-only lookups over classes (C), variants (V), relations (R = 4), backgrounds (G).

    Attributes:
        sayable: [C, V], whether the colour can be asked of the class; variant 0 is False.
        held_colour: [C, V], held-out part of ``sayable``.
        held_relation: [C, C, R], held-out triples; a triple and its mirror image go together.
        visible: [C, V, G], whether the object stands out from the background.
    """

    sayable: Mask
    held_colour: Mask
    held_relation: Mask
    visible: Mask

    def __post_init__(self) -> None:
        for name in ("sayable", "held_colour", "held_relation", "visible"):
            getattr(self, name).flags.writeable = False


def _held(*parts: str) -> bool:
    digest = hashlib.blake2b("|".join(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % _ONE_IN == 0


@cache
def tables(salt: str = SALT) -> Tables:
    """The lookups for the classes in the catalogue; ``salt`` names the split."""
    classes = load_classes()
    count, variants = len(classes), 1 + len(COLOUR_NAMES)
    sayable = np.zeros((count, variants), bool)
    held_colour = np.zeros((count, variants), bool)
    held_relation = np.zeros((count, count, len(RELATIONS)), bool)
    visible = np.ones((count, variants, len(BACKGROUND_COLOURS)), bool)
    for index, entry in enumerate(classes):
        for variant, colour in enumerate(COLOUR_NAMES, start=1):
            sayable[index, variant] = colour in entry.sayable()
            held_colour[index, variant] = (
                sayable[index, variant]
                and colour not in entry.natural
                and _held(salt, "colour", colour, entry.name)
            )
        for place, ground in enumerate(BACKGROUND_COLOURS):
            drawn = ground.name in (*entry.avoid, *entry.avoid_always)
            drawn = drawn or bool({*entry.natural} & {*ground.hides})
            visible[index, 0, place] = not drawn
            for variant, colour in enumerate(COLOUR_NAMES, start=1):
                as_drawn = colour in entry.natural or not entry.recolour
                hidden = colour in ground.hides or ground.name in entry.avoid_always
                hidden = hidden or (as_drawn and drawn)
                visible[index, variant, place] = not hidden
        for other, partner in enumerate(classes):
            for relation in (0, 2):
                if index != other and _held(
                    salt, "relation", entry.name, RELATIONS[relation], partner.name
                ):
                    held_relation[index, other, relation] = True
                    held_relation[other, index, INVERSE[relation]] = True
    return Tables(sayable, held_colour, held_relation, visible)

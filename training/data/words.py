"""The wordings that captions are built from, as data.

A sentence is a template whose braces are filled with phrases: ``{a}`` and ``{b}`` are the objects,
``{n}`` a counted group, ``{ground}`` the background phrase, ``{style}`` an optional opening such as
"a picture of". Templates are written in lower case; a comma is a token of its own.
"""

from __future__ import annotations

NUMBERS = ("one", "two", "three", "four")
DIGITS = ("1", "2", "3", "4")

# Openings; the empty one is the most common.
STYLES: tuple[tuple[str, float], ...] = (
    ("", 12.0),
    ("a picture of", 1.0),
    ("an image of", 1.0),
    ("an icon of", 0.6),
    ("a drawing of", 0.4),
    ("an illustration of", 0.4),
    ("a photo of", 0.6),
    ("a rendering of", 0.4),
    ("a clean icon showing", 0.3),
    ("a simple picture showing", 0.3),
    ("a shiny toy like icon of", 0.2),
    ("a glossy emoji of", 0.3),
    ("a bright photograph of", 0.2),
    ("a realistic photo of", 0.2),
    ("a cute drawing of", 0.2),
)

# One object as said in a sentence; {o} is "red apple" or "apple", {c} the colour, {x} the noun.
PLAIN_PHRASES: tuple[tuple[str, float], ...] = (
    ("{an} {o}", 10.0),
    ("one {o}", 1.0),
    ("a single {o}", 0.5),
    ("the {o}", 0.5),
    ("a cute {o}", 0.2),
    ("a little {o}", 0.2),
    ("a nice {o}", 0.2),
)
COLOUR_PHRASES: tuple[tuple[str, float], ...] = (
    ("{an} {o}", 10.0),
    ("{ax} {x} that is {c}", 1.0),
    ("{ax} {x} in {c}", 0.7),
    ("{ax} {x} colored {c}", 0.2),
    ("{ax} {x} coloured {c}", 0.2),
    ("one {o}", 0.6),
    ("the {o}", 0.4),
)

GROUNDS: tuple[tuple[str, float], ...] = (
    ("on {ag} {g} background", 6.0),
    ("against {ag} {g} background", 1.0),
    ("with {ag} {g} background", 1.0),
    ("in front of {ag} {g} background", 0.7),
    ("on a plain {g} background", 0.3),
    ("with {ag} {g} backdrop", 0.3),
    ("and the background is {g}", 0.4),
    ("on {g}", 0.5),
)

SINGLE: tuple[tuple[str, float], ...] = (
    ("{style} {a} {ground}", 12.0),
    ("there is {a} {ground}", 1.0),
    ("this is {a} {ground}", 0.5),
    ("{a} in the picture {ground}", 0.4),
    ("just {a} {ground}", 0.4),
)
COUNTED: tuple[tuple[str, float], ...] = (
    ("{style} {n} {ground}", 12.0),
    ("there are {n} {ground}", 1.5),
    ("a group of {n} {ground}", 0.7),
    ("exactly {n} {ground}", 0.5),
    ("{n} in the picture {ground}", 0.4),
)
TWO: tuple[tuple[str, float], ...] = (
    ("{style} {a} and {b} {ground}", 12.0),
    ("{style} {a} with {b} {ground}", 1.0),
    ("{style} {a} together with {b} {ground}", 0.7),
    ("there is {a} and {b} {ground}", 1.0),
    ("both {a} and {b} {ground}", 0.5),
)
# Only where the two lie side by side.
BESIDE: tuple[tuple[str, float], ...] = (
    ("{style} {a} next to {b} {ground}", 1.0),
    ("{style} {a} beside {b} {ground}", 1.0),
    ("{style} {a} and {b} side by side {ground}", 0.6),
    ("{style} {a} near {b} {ground}", 0.4),
)

# Where {a} lies as seen from {b}; the first wording of each is the terse one.
PLACED: dict[str, tuple[tuple[str, float], ...]] = {
    "left": (
        ("{style} {a} to the left of {b} {ground}", 6.0),
        ("{style} {a} left of {b} {ground}", 2.0),
        ("{style} {a} on the left of {b} {ground}", 2.0),
        ("{style} {a} on the left and {b} on the right {ground}", 1.5),
        ("there is {a} to the left of {b} {ground}", 1.0),
        ("{a} is to the left of {b} {ground}", 1.0),
    ),
    "right": (
        ("{style} {a} to the right of {b} {ground}", 6.0),
        ("{style} {a} right of {b} {ground}", 2.0),
        ("{style} {a} on the right of {b} {ground}", 2.0),
        ("{style} {a} on the right and {b} on the left {ground}", 1.5),
        ("there is {a} to the right of {b} {ground}", 1.0),
        ("{a} is to the right of {b} {ground}", 1.0),
    ),
    "above": (
        ("{style} {a} above {b} {ground}", 7.0),
        ("{style} {a} over {b} {ground}", 1.5),
        ("{style} {a} at the top and {b} at the bottom {ground}", 1.5),
        ("{style} {a} higher than {b} {ground}", 0.5),
        ("{style} {a} up above {b} {ground}", 0.4),
        ("there is {a} above {b} {ground}", 1.0),
        ("{a} is above {b} {ground}", 1.0),
    ),
    "below": (
        ("{style} {a} below {b} {ground}", 7.0),
        ("{style} {a} under {b} {ground}", 1.5),
        ("{style} {a} beneath {b} {ground}", 1.0),
        ("{style} {a} underneath {b} {ground}", 0.6),
        ("{style} {a} at the bottom and {b} at the top {ground}", 1.5),
        ("{style} {a} lower than {b} {ground}", 0.5),
        ("there is {a} below {b} {ground}", 1.0),
        ("{a} is below {b} {ground}", 1.0),
    ),
}
# One object at a side of the picture.
ALONE: dict[str, tuple[tuple[str, float], ...]] = {
    "left": (
        ("{style} {a} on the left {ground}", 3.0),
        ("{style} {a} to the left {ground}", 1.0),
        ("{a} is on the left {ground}", 1.0),
    ),
    "right": (
        ("{style} {a} on the right {ground}", 3.0),
        ("{style} {a} to the right {ground}", 1.0),
        ("{a} is on the right {ground}", 1.0),
    ),
    "above": (
        ("{style} {a} at the top {ground}", 3.0),
        ("{style} {a} up above {ground}", 1.0),
        ("{a} is at the top {ground}", 1.0),
    ),
    "below": (
        ("{style} {a} at the bottom {ground}", 3.0),
        ("{style} {a} below {ground}", 1.0),
        ("{a} is at the bottom {ground}", 1.0),
    ),
}
# A mentioned background may also come first or in a clause of its own.
LEADING_GROUND = ("on {ag} {g} background ,", "{ag} {g} background with")
TRAILING_GROUND = (", {g} background", ", the background is {g}")

# Written in place of the background's usual name now and then.
GREY = ("gray", "grey")

# Words that people type though no template has them; they are kept so that they are not unknown.
EXTRA_WORDS: tuple[str, ...] = ("color", "colour", "object", "small", "large", "big")

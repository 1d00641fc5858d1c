"""``(word:1.2)`` in prompts, as ComfyUI and other programs have it.

``(text:1.2)`` weighs a text by 1.2, ``(text)`` by 1.1; weights inside one another multiply. ``\\(``
and ``\\)`` are brackets that are meant. A bracket without its other half is one that is meant, too.
Digits on both sides of the colon, as in ``(16:9)``, are no weight.

What other programs read out of prompts and Infinity has no use for is left out, with a note.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby

BRACKETS = 1.1
"""Weight of brackets that name none."""
LARGEST = 10.0
"""Weights beyond it, of either sign, are taken as it."""
DIGITS = 6
"""Of weights, after the point: those of brackets in brackets are rounded to them."""

_WEIGHT = re.compile(r":[ \t]*([+-]?(?:\d+(?:\.\d*)?|\.\d+))[ \t]*$", re.ASCII)
_LONGEST = 40
"""Characters before a closing bracket that are searched for a weight."""
_NUMBERED = re.compile(
    r"(?<!\\)\([^()]{1,200}(?:(?<!\d):[ \t]*[+-]?\d+|:[ \t]*[+-]?\d*\.\d*)[ \t]*\)", re.ASCII)
_BEYOND = 1e9
"""Products of many brackets end here, before they are no numbers any more."""
_MOST, _SHOWN = 8, 60
"""Left out texts that a note names, and characters of each."""
_COMMA = re.compile(r"[ \t]*,")
_START = r"(?<![^\s,(])"
_FOREIGN = re.compile(
    rf"{_START}(?:(?P<embedding>embedding:[^\s,()]+)|(?P<BREAK>BREAK)(?![^\s,)]))")
_WHY = {
    "embedding": "Infinity has no textual-inversion embeddings",
    "BREAK": "Infinity reads a prompt in one piece",
}


@dataclass(frozen=True)
class Span:
    """Characters ``start`` to ``end`` (exclusive) of a text have a weight."""

    start: int
    end: int
    weight: float


@dataclass(frozen=True)
class WeightedPrompt:
    """A prompt whose brackets were read.

    Attributes:
        text: the text without the brackets, which the text encoder reads.
        spans: the parts of the text whose weight is not 1, as ``Span`` (start, end, weight) in
            characters. They are in order and do not overlap.
        notes: what was left out or changed, as ends of sentences that begin with "the prompt".
    """

    text: str
    spans: tuple[Span, ...] = ()
    notes: tuple[str, ...] = ()


def parse_weights(prompt: str) -> WeightedPrompt:
    """Read the weights in a prompt: ``(word:1.2)`` has the weight 1.2, ``(word)`` has 1.1, and
    weights inside one another multiply.

    A backslash before a bracket makes it plain text. ``embedding:name`` and ``BREAK``, which other
    programs read, are left out with a note. A prompt without any of these comes back unchanged.
    """
    text, weights, clipped = _read(prompt)
    text, weights, found = _without_foreign(text, weights)
    notes = [_foreign_note(kind, tags) for kind, tags in found.items()]
    if clipped:
        notes.append(f"has weights beyond {LARGEST:g}, which were taken as {LARGEST:g}")
    spans, at = [], 0
    for weight, run in groupby(weights):
        size = sum(1 for _ in run)
        if weight != 1:
            spans.append(Span(at, at + size, weight))
        at += size
    return WeightedPrompt(text, tuple(spans), tuple(notes))


def format_weights(weighted: WeightedPrompt) -> str:
    """The prompt that is read as this text and these weights."""
    parts, at = [], 0
    for span in weighted.spans:
        parts.append(escape(weighted.text[at : span.start]))
        number = f"{span.weight:.{DIGITS}f}".rstrip("0")
        number += "0" * number.endswith(".")
        parts.append(f"({escape(weighted.text[span.start : span.end])}:{number})")
        at = span.end
    return "".join([*parts, escape(weighted.text[at:])])


def escape(text: str) -> str:
    """The prompt that is read as this text: its brackets are meant."""
    return re.sub(r"[()]", r"\\\g<0>", text)


def meant_to_be_read(prompt: str) -> str | None:
    """The first part of a prompt that is a weight in numbers or for other programs, shortened."""
    found = [match for match in (_NUMBERED.search(prompt), _FOREIGN.search(prompt)) if match]
    if not found:
        return None
    return min(found, key=lambda match: match.start())[0][:_SHOWN]


def _read(prompt: str) -> tuple[str, list[float], bool]:
    """The text without the brackets that weigh, the weight of each of its characters, and whether
    one was beyond the largest."""
    factors, ends, escapes = _groups(prompt)
    letters, weights, outer = list[str](), list[float](), list[float]()
    weight, clipped, at = 1.0, False, 0
    while at < len(prompt):
        if at in factors:
            outer.append(weight)
            weight = max(-_BEYOND, min(weight * factors[at], _BEYOND))
            at += 1
        elif at in ends:
            weight = outer.pop()
            at = ends[at]
        else:
            at += at in escapes
            letters.append(prompt[at])
            weights.append(max(-LARGEST, min(round(weight, DIGITS), LARGEST)) + 0.0)  # no -0
            clipped |= abs(weight) > LARGEST
            at += 1
    return "".join(letters), weights, clipped


def _groups(prompt: str) -> tuple[dict[int, float], dict[int, int], set[int]]:
    """Weights by where their bracket opens; where their text ends and where the prompt goes on
    after them; backslashes before brackets that are meant."""
    factors, ends = dict[int, float](), dict[int, int]()
    escapes, waiting = set[int](), list[int]()
    for match in re.finditer(r"\\[()]|[()]", prompt):
        at = match.start()
        if match[0][0] == "\\":
            escapes.add(at)
        elif match[0] == "(":
            waiting.append(at)
        elif waiting:
            start = waiting.pop()
            low = max(start + 1, at - _LONGEST)
            named = _WEIGHT.search(prompt[low:at])
            if named and low + named.start() > start + 1 and not _is_ratio(prompt[low:at], named):
                factors[start], ends[low + named.start()] = float(named[1]), at + 1
            else:
                factors[start], ends[at] = BRACKETS, at + 1
    return factors, ends, escapes


def _is_ratio(text: str, named: re.Match[str]) -> bool:
    return named[1].isdigit() and text[: named.start()][-1:].isdigit()


def _without_foreign(text: str, weights: list[float]
                     ) -> tuple[str, list[float], dict[str, list[str]]]:
    """Text and weights without what is meant for other programs, and what that was, by kind.

    White space before it goes as well, and the comma after it where nothing or a comma is before.
    """
    found, kept = dict[str, list[str]](), list[slice]()
    at, last = 0, ""
    for match in _FOREIGN.finditer(text):
        kind = match.lastgroup or ""
        found.setdefault(kind, []).append(match[kind])
        start = at + len(text[at : match.start()].rstrip())
        if start > at:
            kept.append(slice(at, start))
            last = text[start - 1]
        at = match.end()
        if last in ("", ",") and (comma := _COMMA.match(text, at)):
            at = comma.end()
        if not last:
            at += len(text[at:]) - len(text[at:].lstrip())
    kept.append(slice(at, len(text)))
    return ("".join(text[part] for part in kept),
            [weight for part in kept for weight in weights[part]], found)


def _foreign_note(kind: str, tags: list[str]) -> str:
    names = [f'"{tag[:_SHOWN]}"' for tag in dict.fromkeys(tags)]
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return f"was read without {', '.join(names[:_MOST])}{more}: {_WHY[kind]}"

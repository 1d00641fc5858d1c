"""Text of others' making, for terminals, logs and messages."""

from __future__ import annotations

MAX_LENGTH = 1000


def printable(text: object) -> str:
    """Control characters, marks of writing direction and lone surrogates escaped, lines kept.

    Names and notes come out of files: what they hold must not steer a terminal, and must be
    encodable.
    """
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode()
                   for c in str(text))


def one_line(text: object) -> str:
    """As :func:`printable`; runs of white space become one space, and length is bounded."""
    text = printable(" ".join(str(text).split()))
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 3] + "..."

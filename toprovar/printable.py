"""Text of others' making, for terminals, logs and messages."""

from __future__ import annotations

from collections.abc import Iterable

MAX_LENGTH = 1000


def printable(text: object) -> str:
    """Control characters, marks of writing direction and lone surrogates escaped, lines kept.

    Names and notes come out of files: what they hold must not steer a terminal, and must be
    encodable.
    """
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode()
                   for c in str(text))


def safe_lines(lines: Iterable[object]) -> str:
    """As :func:`printable`, each entry on a line of its own whatever it holds."""
    return "\n".join(printable(line).replace("\n", "\\n") for line in lines)


def one_line(text: object) -> str:
    """As :func:`printable`; runs of white space become one space, and length is bounded."""
    text = printable(" ".join(str(text).split()))
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 3] + "..."

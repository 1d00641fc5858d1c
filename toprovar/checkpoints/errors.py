"""The one error that unusable checkpoints raise."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

MAX_LENGTH = 1000


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, told in one line.

    Args:
        path: the file or folder.
        problem: what is wrong.
        key: the tensor (or configuration entry) it is about.
        expected, found: shapes or values.
        note: an afterthought, put in brackets.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        problem: str,
        *,
        key: str | None = None,
        expected: object = None,
        found: object = None,
        note: str = "",
    ) -> None:
        self.path, self.key = str(path), key
        self.expected, self.found = expected, found
        text = f"{path}: "
        if key is not None:
            text += f"key '{key}': "
        text += problem
        details = [
            f"{word} {_readable(value)}"
            for word, value in (("expected", expected), ("found", found))
            if value is not None
        ]
        if details:
            text += ": " + ", ".join(details)
        if note:
            text += f" ({note})"
        super().__init__(one_line(text))


class NoAveragedWeightsError(CheckpointError):
    """Averaged weights were asked of a checkpoint that has none."""


def _readable(value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return str(list(value))
    return str(value)


def one_line(text: str) -> str:
    """Whitespace runs become one space, control characters are escaped, length is bounded.

    File contents end up in messages: keys of a hostile file must not write to a terminal.
    """
    text = " ".join(text.split())
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 3] + "..."

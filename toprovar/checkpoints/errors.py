"""The one error that unusable checkpoints raise."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

from ..printable import one_line

__all__ = ["CheckpointError", "NoAveragedWeightsError", "one_line"]


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

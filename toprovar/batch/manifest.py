"""The manifest: a line of JSON for every picture that is finished and every row that failed.

A line is written when its picture is whole and in its place, so whatever ends the process, what
the manifest says is true. Lines stand in the order in which pictures were finished.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..files import replace_file
from ..reading import parse_json

DRAWN, FAILED = "drawn", "failed"
Key = tuple[int, int, str]


class Manifest:
    """A manifest that is read once, and from then on appended to by one process.

    A last line that was half written when a process ended is dropped.

    Args:
        path: of the file, which need not exist.

    Attributes:
        lines: by row and picture.

    Raises:
        ValueError: a line but the last is none of a manifest.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.lines: dict[tuple[int, int], dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._file: int | None = None
        content = self.path.read_bytes() if self.path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), 1):
            about = self._parsed(number, line)
            self.lines[about["row"], about["picture"]] = about
        if whole != content or len(self.lines) != whole.count(b"\n"):
            self._rewrite()

    def keys(self) -> set[Key]:
        return {(row, picture, about["id"]) for (row, picture), about in self.lines.items()}

    def keep(self, wanted: Callable[[dict[str, Any]], bool]) -> int:
        """Drop the lines that are not wanted; how many they were."""
        lines = {place: line for place, line in self.lines.items() if wanted(line)}
        dropped = len(self.lines) - len(lines)
        self.lines = lines
        if dropped:
            self._rewrite()
        return dropped

    def append(self, about: Mapping[str, Any]) -> None:
        """Add a line, which is in the file when this returns.

        Args:
            about: with "row", "picture", "id" and "status".

        Raises:
            OSError: it could not be written; nothing of it is left in the file.
        """
        line = (json.dumps(about, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        with self._lock:
            if self._file is None:
                self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            before = os.fstat(self._file).st_size
            try:
                written = os.write(self._file, line)
                while written < len(line):
                    written += os.write(self._file, line[written:])
            except OSError:
                os.ftruncate(self._file, before)
                raise
            self.lines[about["row"], about["picture"]] = dict(about)

    def close(self) -> None:
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def _rewrite(self) -> None:
        self.close()
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in self.lines.values())
        replace_file(self.path, text.encode("utf-8", "backslashreplace"))

    def _parsed(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            about = parse_json(line.decode())
            if (type(about["row"]), type(about["picture"]), type(about["id"])) == (int, int, str) \
                    and about["status"] in (DRAWN, FAILED):
                return about
        except (ValueError, TypeError, LookupError):
            pass
        raise ValueError(f"{self.path}: line {number} is no line of a manifest of 'toprovar "
                         "batch': repair it, or give another folder")


def counts(lines: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many pictures were drawn, and how many rows failed."""
    found = {DRAWN: 0, FAILED: 0}
    for line in lines:
        found[line["status"]] += 1
    return found

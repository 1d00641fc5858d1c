"""The result as it grows: written after every step, and the time that is left."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toprovar.files import replace_file


class Results:
    """What was found so far, in a file.

    Args:
        path: rewritten whole at every ``save``, so that a run that is cut off leaves what it had.
        budget: seconds after which nothing new is begun; None = no end.
    """

    def __init__(self, path: Path, head: dict[str, Any], budget: float | None = None) -> None:
        self.path, self.budget = path, budget
        self.started = time.monotonic()
        self.data: dict[str, Any] = {**head, "sections": {}, "left_out": {}}
        self.save()

    def save(self) -> None:
        self.data["seconds"] = round(time.monotonic() - self.started, 1)
        text = json.dumps(rounded(self.data), indent=1) + "\n"
        replace_file(self.path, text.encode())

    def may_begin(self, what: str) -> bool:
        """Whether there is time left; if not, ``what`` is noted as left out."""
        passed = time.monotonic() - self.started
        if self.budget is None or passed < self.budget:
            return True
        self.leave_out(what, f"not begun: {passed:.0f} s of the {self.budget:.0f} s had passed")
        return False

    def leave_out(self, what: str, reason: str) -> None:
        self.data["left_out"][what] = reason
        print(f"{what}: {reason}", flush=True)
        self.save()

    @contextmanager
    def attempt(self, what: str) -> Iterator[None]:
        """An error is noted, and what follows goes on: time on a device is dear."""
        try:
            yield
        except Exception as error:
            self.leave_out(what, f"failed: {type(error).__name__}: {str(error)[:500]}")
            traceback.print_exc()

    @contextmanager
    def section(self, name: str) -> Iterator[dict[str, Any]]:
        """A section's own part of the result."""
        found: dict[str, Any] = {}
        self.data["sections"][name] = found
        began = time.monotonic()
        with self.attempt(name):
            yield found
        found["section_seconds"] = round(time.monotonic() - began, 1)
        print(f"{name}: {found['section_seconds']} s", flush=True)
        self.save()


def rounded(value: Any, digits: int = 5) -> Any:
    """Floats to ``digits`` figures, throughout."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, dict):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item, digits) for item in value]
    return value

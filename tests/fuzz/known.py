"""Faults that are known and not mended yet; the aim is that there are none.

An entry is a part of "KIND: OUTCOME, DETAIL" as ``python -m tests.fuzz`` prints it, and why it is
still there.
"""

from __future__ import annotations

from .cases import Result

KNOWN: dict[str, str] = {}


def is_known(result: Result) -> bool:
    told = f"{result.kind}: {result.outcome}, {result.detail}"
    return any(text in told for text in KNOWN)

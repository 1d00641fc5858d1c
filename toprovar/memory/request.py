"""How much memory may be used, and by which means: what a user says of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Means = Literal["auto", "exact", "8-bit"]

WORDS = "auto, exact, 8-bit, or a size such as 6GB, alone or before one of them ('6GB 8-bit')"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT])i?B?", re.IGNORECASE)
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True)
class Allowance:
    """What a user allows.

    Attributes:
        means: "exact" = only what keeps every bit of a picture: parts that wait in host memory,
            fewer pictures at once. "8-bit" = also an 8-bit KV cache and 8-bit weights, where they
            save time. "auto" = as exact, and these and decoding in tiles only where nothing
            else fits.
        limit: bytes that may be used of a device; None = what is free.
    """

    means: Means = "auto"
    limit: int | None = None

    @staticmethod
    def parse(text: str) -> Allowance:
        """Of the words of ``--memory``.

        Raises:
            ValueError: it says something else.
        """
        words = text.strip().lower().replace(",", " ")
        size = _SIZE.match(words)
        limit = None
        if size is not None:
            limit = int(float(size[1]) * _UNITS[size[2].upper()])
            words = words[size.end() :].strip()
        if words in ("", "auto") and (words or size is not None):
            means: Means = "auto"
        elif words in ("exact", "8-bit"):
            means = words
        else:
            raise ValueError(f"memory must be {WORDS}, got {text!r}")
        if limit == 0:
            raise ValueError(f"memory must be {WORDS}, got {text!r}: the size must be above 0")
        return Allowance(means, limit)

    def __str__(self) -> str:
        size = "" if self.limit is None else f"{self.limit / 2**30:.4g}GB "
        return f"{size}{self.means}"


def told(nbytes: float) -> str:
    """A size in words: ``3.2 GiB``, ``410 MiB``."""
    return f"{nbytes / 2**30:.1f} GiB" if nbytes >= 1 << 30 else f"{nbytes / 2**20:.0f} MiB"

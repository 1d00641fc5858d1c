"""What nodes have to say beside their results: their panels show it, in either renderer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def shown_notes(notes: Sequence[str]) -> dict[str, list[Any]]:
    """What a node sends to the browser.

    Args:
        notes: sentences. Without any, those of an earlier run go.

    Returns:
        ``toprovar_notes`` for the panel; ``text``, if there is any, for other programs.
    """
    from ...toprovar.printable import one_line

    lines = [one_line(note) for note in notes]
    return {"toprovar_notes": lines, **({"text": ["\n".join(lines)]} if lines else {})}

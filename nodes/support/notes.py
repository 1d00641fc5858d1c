"""What the encoder has to say of prompts, in sight: on the node that holds them."""

from __future__ import annotations

from collections.abc import Sequence

from .host import say

NOTHING = "Every word of the prompt is used."
_SHOWING: set[str] = set()
"""Nodes that show notes now: a frontend keeps a text on a node until it is given another."""
_HARMLESS = str.maketrans({"<": "\u2039", ">": "\u203a", "&": "\uff06"})
"""Frontends take the text for HTML, and a workflow of somebody else's may hold any prompt."""


def show_notes(node: str, notes: Sequence[str]) -> str:
    """Show notes that go on after "the prompt" on the node that runs; an earlier run's go.

    Returns:
        the text, "" if there are no notes.
    """
    from ...toprovar.printable import one_line

    text = "\n".join(one_line(f"The prompt {note}.") for note in notes)
    if text:
        _SHOWING.add(node)
        say(text.translate(_HARMLESS))
    elif node in _SHOWING:
        _SHOWING.discard(node)
        say(NOTHING)
    return text

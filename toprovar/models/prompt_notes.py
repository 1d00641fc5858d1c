"""What a tokenizer could not make of prompts, in words."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

from ..printable import printable
from ..prompt_weights import WeightedPrompt, meant_to_be_read

logger = logging.getLogger(__name__)

EMPTY = "is empty: nothing says what to draw"
MOST_WORDS = 8
"""Unknown words that a note names."""


def prompt_notes(prompts: Sequence[WeightedPrompt], ids: Sequence[Sequence[int]], tokenizer: Any,
                 max_length: int) -> tuple[str, ...]:
    """A note for each prompt that is empty, was cut, or has words that the tokenizer lacks, beside
    the prompts' own; each goes on after "the prompt". Cut ones are logged, too.

    Args:
        ids: the tokens of each prompt, cut to ``max_length`` of them.
    """
    notes = []
    for n, (read, own) in enumerate(zip(prompts, ids, strict=True), 1):
        which = "" if len(prompts) == 1 else f"{n} of {len(prompts)} "
        prompt = read.text
        notes += [which + note for note in read.notes]
        if not prompt.strip():
            notes.append(which + EMPTY)
        if len(own) >= max_length and (full := len(tokenizer(prompt).input_ids)) > max_length:
            notes.append(f"{which}has {full} text tokens, only the first {max_length} are used")
            logger.warning("the prompt %s: %s...", notes[-1], printable(prompt[:40]))
        unknown = _unknown_words(prompt, tokenizer) if tokenizer.unk_token_id in own else []
        if unknown:
            more = f" and {len(unknown) - MOST_WORDS} more" if len(unknown) > MOST_WORDS else ""
            notes.append(f"{which}has words that the text encoder does not know and cannot tell "
                         f"apart: {', '.join(unknown[:MOST_WORDS])}{more}")
    return tuple(notes)


def notes_on(prompts: Sequence[str], tokenizer: Any, max_length: int) -> tuple[str, ...]:
    """The notes of prompts that are read as they stand, before anything is encoded."""
    read = [WeightedPrompt(prompt, notes=read_as_it_stands(prompt)) for prompt in prompts]
    ids = tokenizer(list(prompts), truncation=True, max_length=max_length).input_ids
    return prompt_notes(read, ids, tokenizer, max_length)


def read_as_it_stands(prompt: str) -> tuple[str, ...]:
    """A note where a prompt has what other programs read as a weight or the like, and it was not
    asked to be read so."""
    found = meant_to_be_read(prompt)
    return () if found is None else (
        f'has "{found}", which is read as it stands, like any other word',)


def _unknown_words(prompt: str, tokenizer: Any) -> list[str]:
    words = dict.fromkeys(re.findall(r"\w+|[^\w\s]", prompt))
    return [word for word in words
            if tokenizer.unk_token_id in tokenizer(word, add_special_tokens=False).input_ids]

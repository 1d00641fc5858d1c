"""The engine's pipeline, with prompts that were encoded before its calls.

Calls of the engine that take words (drafts, edits) encode them with the pipeline's text encoder.
Here that one is in the care of ComfyUI's memory manager, so nodes encode first, while the
transformer may still wait elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from ...toprovar.models.text import PackedText
from ...toprovar.pipeline import InfinityPipeline

if TYPE_CHECKING:
    from .infinity import Prompts


class WordedPipeline(InfinityPipeline):
    """A pipeline that can be told what prompts come to."""

    _known: dict[tuple[str, bool], PackedText]

    @contextmanager
    def knowing(self, *prompts: Prompts | None) -> Iterator[None]:
        """Within, these prompts are not encoded again."""
        self._known = {}
        for given in prompts:
            if given is not None:
                for number, text in enumerate(given.texts):
                    one = given.features.part(number, number + 1)
                    notes = given.features.notes if number == 0 else ()
                    self._known.setdefault((text, given.weights),
                                           PackedText(one.features, one.lengths, notes))
        try:
            yield
        finally:
            self._known = {}

    def encode_prompt(self, prompt: str | Sequence[str], graph: bool | None = None,
                      weights: bool = False) -> PackedText:
        """As the engine's, for prompts that are not known yet."""
        texts = [prompt] if isinstance(prompt, str) else list(prompt)
        known = getattr(self, "_known", {})
        if not texts or any((text, weights) not in known for text in texts):
            return super().encode_prompt(prompt, graph, weights)
        found = [known[text, weights] for text in texts]
        notes = tuple(dict.fromkeys(note for one in found for note in one.notes))
        return PackedText(torch.cat([one.features for one in found]),
                          tuple(n for one in found for n in one.lengths), notes)

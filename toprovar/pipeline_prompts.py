"""Prompts to text features: methods of the pipeline beside its call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .arguments import single
from .models.text import PackedText
from .models.text_encoder import MAX_TEXT_TOKENS, encode_prompts
from .models.transformer import InfinityTransformer


class Prompting:
    """Base of the pipeline."""

    transformer: InfinityTransformer
    text_encoder: Any  # T5EncoderModel, or None
    tokenizer: Any  # PreTrainedTokenizerBase, or None

    def encode_prompt(
        self, prompt: str | Sequence[str], graph: bool | None = None, weights: bool = False
    ) -> PackedText:
        """Encode prompts into text features, to be used in several calls as ``prompt_features``.

        Args:
            prompt: one prompt or several.
            graph: False = never record the text encoder as a CUDA graph. None = it is recorded
                where that is possible.
            weights: True = read ``(word:1.2)`` as a weight, as :func:`toprovar.parse_weights` does.

        Returns:
            The features of the B prompts, float32 on the encoder's device, each cut to its own
            tokens. ``notes`` names prompts that were cut at 512 text tokens and words that the
            tokenizer does not know.

        Raises:
            ValueError: the pipeline has no text encoder, or a prompt is not a text.
        """
        if self.text_encoder is None or self.tokenizer is None:
            raise ValueError(
                "this pipeline has no text encoder: add one when converting ('toprovar convert "
                "TRANSFORMER VAE FLAN-T5-XL-FOLDER DST'), or give prompt_features"
            )
        prompts: list[Any] = [prompt] if isinstance(prompt, str) or single(prompt) \
            else list(prompt)
        limit = min(MAX_TEXT_TOKENS, self.transformer.shape.text_max_length)
        return encode_prompts(prompts, self.tokenizer, self.text_encoder, limit, graph=graph,
                              weights=weights)

    def _features(self, text: str | Sequence[str] | None, features: PackedText | None,
                  graph: bool | None, weights: bool) -> PackedText:
        if features is not None:
            return features
        if text is None:
            raise ValueError("give either prompt or its features: neither was given")
        return self.encode_prompt(text, graph, weights)


def count_prompts(text: str | Sequence[str] | None, features: PackedText | None) -> int:
    """How many there are."""
    if features is not None:
        return len(features)
    return 1 if text is None or isinstance(text, str) or single(text) else max(1, len(text))

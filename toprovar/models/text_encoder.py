"""Prompts to packed text features, through a transformers T5 encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..arguments import check_prompts
from ..prompt_weights import WeightedPrompt, parse_weights
from .prompt_notes import prompt_notes, read_as_it_stands
from .text import PackedText
from .text_runner import encode, padded_length
from .weighted_text import token_weights, weigh

MAX_TEXT_TOKENS = 512
"""Longest prompt in text tokens, end token included (official setting)."""


def encode_prompts(
    prompts: Sequence[str],
    tokenizer: Any,
    text_encoder: Any,
    max_length: int = MAX_TEXT_TOKENS,
    *,
    graph: bool | None = None,
    weights: bool = False,
) -> PackedText:
    """Encode prompts with a T5 encoder.

    Each prompt's features are cut to its own tokens, the end token included; an empty prompt is
    that one token. Padding goes to the longest prompt at hand (on a GPU to a multiple of 64, so
    that few shapes occur) rather than to 512: masked tokens do not reach the others.

    Args:
        tokenizer: transformers tokenizer that appends the end token.
        text_encoder: transformers ``T5EncoderModel``.
        max_length: prompts are cut to this many tokens, with a note.
        graph: as in :meth:`InfinityAutoencoder.decode`, for encoders in an NVIDIA GPU's memory.
        weights: read ``(word:1.2)`` as :func:`~toprovar.prompt_weights.parse_weights` does, and
            weigh the words; prompts without brackets give the same features either way. False =
            prompts are read as they stand.

    Returns:
        float32 features on the encoder's device, with notes on prompts that are empty, cut, hold
        words that the tokenizer does not know, or what is meant for other programs.

    Raises:
        ValueError: a prompt that is no text, or holds half a surrogate pair.
    """
    prompts = check_prompts("prompt", prompts)
    read = [parse_weights(prompt) if weights
            else WeightedPrompt(prompt, notes=read_as_it_stands(prompt)) for prompt in prompts]
    texts = [prompt.text for prompt in read]
    batch = tokenizer(
        texts, padding="longest", truncation=True, max_length=max_length, return_tensors="pt",
    )
    lengths = tuple(int(n) for n in batch.attention_mask.sum(-1))
    notes = prompt_notes(read, batch.input_ids.tolist(), tokenizer, max_length)
    pad = tokenizer.pad_token_id or 0

    def features_of(ids: Tensor, mask: Tensor) -> Tensor:
        short = padded_length(ids.shape[1], text_encoder.device) - ids.shape[1]
        ids = F.pad(ids, (0, short), value=pad)
        return encode(text_encoder, ids, F.pad(mask, (0, short)), graph).float()

    features = features_of(batch.input_ids, batch.attention_mask)
    rows = [row[:n] for row, n in zip(features, lengths, strict=True)]
    for i, (prompt, n) in enumerate(zip(read, lengths, strict=True)):
        if prompt.spans:
            rows[i] = weigh(rows[i], batch.input_ids[i, :n],
                            token_weights(prompt, n, tokenizer, max_length), pad, features_of)
    return PackedText(torch.cat(rows), lengths, notes)

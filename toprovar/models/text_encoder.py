"""Prompts to packed text features, through a transformers T5 encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from ..arguments import check_prompts
from .prompt_notes import prompt_notes
from .text import PackedText
from .text_runner import encode, padded_length

MAX_TEXT_TOKENS = 512
"""Longest prompt in text tokens, end token included (official setting)."""


def encode_prompts(
    prompts: Sequence[str],
    tokenizer: Any,
    text_encoder: Any,
    max_length: int = MAX_TEXT_TOKENS,
    *,
    graph: bool | None = None,
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

    Returns:
        float32 features on the encoder's device, with notes on prompts that are empty, cut or hold
        words that the tokenizer does not know.

    Raises:
        ValueError: a prompt that is no text, or holds half a surrogate pair.
    """
    prompts = check_prompts("prompt", prompts)
    batch = tokenizer(
        list(prompts), padding="longest", truncation=True, max_length=max_length,
        return_tensors="pt",
    )
    lengths = tuple(int(n) for n in batch.attention_mask.sum(-1))
    notes = prompt_notes(prompts, batch.input_ids.tolist(), tokenizer, max_length)
    ids, mask = batch.input_ids, batch.attention_mask
    short = padded_length(ids.shape[1], text_encoder.device) - ids.shape[1]
    ids = F.pad(ids, (0, short), value=tokenizer.pad_token_id or 0)
    features = encode(text_encoder, ids, F.pad(mask, (0, short)), graph).float()
    return PackedText(
        torch.cat([row[:n] for row, n in zip(features, lengths, strict=True)]), lengths, notes
    )

"""Prompts to packed text features, through a transformers T5 encoder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from .text import PackedText
from .text_runner import encode, padded_length

logger = logging.getLogger(__name__)

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
        max_length: prompts are cut to this many tokens, with a warning.
        graph: as in :meth:`InfinityAutoencoder.decode`, for encoders in an NVIDIA GPU's memory.

    Returns:
        float32 features on the encoder's device.
    """
    for prompt in prompts:
        if not isinstance(prompt, str):
            raise TypeError(f"a prompt must be text, got {type(prompt).__name__}")
    batch = tokenizer(
        list(prompts), padding="longest", truncation=True, max_length=max_length,
        return_tensors="pt",
    )
    lengths = tuple(int(n) for n in batch.attention_mask.sum(-1))
    if max(lengths) == max_length:
        for prompt, full in zip(prompts, tokenizer(list(prompts)).input_ids, strict=True):
            if len(full) > max_length:
                logger.warning(
                    "prompt has %d text tokens, only the first %d are used: %.40s...",
                    len(full), max_length, prompt,
                )
    ids, mask = batch.input_ids, batch.attention_mask
    short = padded_length(ids.shape[1], text_encoder.device) - ids.shape[1]
    ids = F.pad(ids, (0, short), value=tokenizer.pad_token_id or 0)
    features = encode(text_encoder, ids, F.pad(mask, (0, short)), graph).float()
    return PackedText(
        torch.cat([row[:n] for row, n in zip(features, lengths, strict=True)]), lengths
    )

"""The small T5 text encoder and the features it gives."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import T5Config, T5EncoderModel

from training.data.tokenizer import EOS_ID, PAD_ID, word_ids
from training.settings import TextSettings

_VOCABULARY_MULTIPLE = 32


def build_text_encoder(settings: TextSettings, seed: int = 0) -> T5EncoderModel:
    """A fresh encoder with the library's own initialisation."""
    words = len(word_ids())
    config = T5Config(
        vocab_size=-(-words // _VOCABULARY_MULTIPLE) * _VOCABULARY_MULTIPLE,
        d_model=settings.channels,
        d_kv=settings.head_dim,
        d_ff=settings.hidden,
        num_layers=settings.layers,
        num_heads=settings.heads,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        pad_token_id=PAD_ID,
        eos_token_id=EOS_ID,
        use_cache=False,
        is_encoder_decoder=False,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return T5EncoderModel(config)


def length_mask(lengths: Tensor, longest: int) -> Tensor:
    """True for real tokens: bool [B, longest]."""
    return torch.arange(longest, device=lengths.device) < lengths[:, None]


def encode_text(encoder: T5EncoderModel, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Features float32 [B, L, C] and their mask bool [B, L]."""
    mask = length_mask(lengths, ids.shape[1])
    found = encoder(input_ids=ids, attention_mask=mask.long())
    return found.last_hidden_state.float(), mask


def with_null_text(
    features: Tensor, mask: Tensor, null_text: Tensor, share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Replace some rows by the first rows of the null text, of random lengths.

    Inference cuts the null text to the prompt's length; drawing any length trains all rows.
    """
    rows, longest = mask.shape
    device = mask.device
    null = torch.rand(rows, generator=generator, device=device) < share
    lengths = torch.randint(2, longest + 1, (rows,), generator=generator, device=device)
    features = torch.where(null[:, None, None], null_text[:longest].float(), features)
    return features, torch.where(null[:, None], length_mask(lengths, longest), mask)

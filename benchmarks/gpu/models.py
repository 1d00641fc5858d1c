"""Models of the released geometries with random weights, made on the device in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from toprovar.models.config import AutoencoderConfig, TransformerConfig
from toprovar.models.random_models import WORDS as WORDS
from toprovar.models.random_models import (
    random_autoencoder,
    random_text_encoder,
    word_tokenizer,
)
from toprovar.models.random_models import random_transformer as random_transformer
from toprovar.models.random_models import text_encoder_config as text_encoder_config
from toprovar.models.variants import autoencoder_variants, get_variant
from toprovar.pipeline import InfinityPipeline
from toprovar.sampling.params import SamplingParams
from toprovar.schedules import ScaleSchedule, get_schedule

PROMPT_TOKENS = (40, 24, 57, 33, 21, 48, 29, 60)
"""Text tokens of the prompts, end token included: one image takes the first."""
TINY = TransformerConfig(depth=4, width=128, num_heads=2, bits_per_token=8, text_channels=32,
                         text_max_length=64, block_chunks=2)
TINY_VAE = AutoencoderConfig(latent_channels=8, base_channels=32, channel_multipliers=(1, 1, 2),
                             blocks_per_level=1, stride=16, stem_patch=4)


@dataclass
class Subject:
    """A pipeline and the run that is asked of it.

    Attributes:
        params: guidance and temperature of the variant, all scales.
        weights: bytes of the pipeline's parameters.
    """

    name: str
    device: torch.device
    pipeline: InfinityPipeline
    params: SamplingParams
    weights: int

    @property
    def shape(self) -> TransformerConfig:
        return self.pipeline.transformer.shape

    @property
    def schedule(self) -> ScaleSchedule:
        return self.params.schedule

    def prompts(self, count: int = 1) -> list[str]:
        """Prompts of 21 to 60 text tokens (``PROMPT_TOKENS``)."""
        return [" ".join(WORDS[(7 * i + j) % len(WORDS)] for j in range(tokens - 1))
                for i, tokens in zip(range(count), PROMPT_TOKENS * count, strict=False)]


def build(name: str, device: torch.device, dtype: torch.dtype, pn: str | None = None,
          text_encoder: Any = None) -> Subject:
    """A model by its variant's name, or "tiny".

    Args:
        pn: pixel budget; None = the variant's.
        text_encoder: one to share; it must have the right width.
    """
    if name == "tiny":
        shape, vae_shape, cfg, tau = TINY, TINY_VAE, 3.0, 0.5
        pn = pn or "0.06M"
    else:
        variant = get_variant(name)
        shape, cfg, tau = variant.config, variant.cfg, variant.tau
        vae_shape, pn = autoencoder_variants()[variant.vae].config, pn or variant.pn
    transformer = random_transformer(shape, device, dtype)
    vae = random_autoencoder(vae_shape, device, dtype)
    if text_encoder is None or text_encoder.config.d_model != shape.text_channels:
        text_encoder = random_text_encoder(shape.text_channels, device, dtype)
    pipeline = InfinityPipeline(transformer, vae, text_encoder, word_tokenizer(), default_pn=pn)
    pipeline.set_progress_bar_config(disable=True)
    weights = sum(p.numel() * p.element_size()
                  for module in (transformer, vae, text_encoder) for p in module.parameters())
    return Subject(name, device, pipeline, SamplingParams(get_schedule("1.0", pn), cfg, tau),
                   weights)

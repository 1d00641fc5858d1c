"""Models of the released geometries with random weights, made on the device in seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from toprovar.models.autoencoder import InfinityAutoencoder
from toprovar.models.config import AutoencoderConfig, TransformerConfig
from toprovar.models.transformer import InfinityTransformer
from toprovar.models.variants import autoencoder_variants, get_variant
from toprovar.pipeline import InfinityPipeline
from toprovar.sampling.params import SamplingParams
from toprovar.schedules import ScaleSchedule, get_schedule

WORDS = tuple(f"word{i}" for i in range(500))
PROMPT_TOKENS = (40, 24, 57, 33, 21, 48, 29, 60)
"""Text tokens of the prompts, end token included: one image takes the first."""
HEAD_SPREAD = 2.0
"""Spread of the logits, about that of trained models: bits are neither coin flips nor settled."""
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


def random_transformer(shape: TransformerConfig, device: torch.device, dtype: torch.dtype
                       ) -> InfinityTransformer:
    """Blocks in ``dtype``, the rest float32, as the loaders do."""
    with torch.device("meta"):
        model = InfinityTransformer.from_shape(shape)
        model.blocks.to(dtype)
    model.to_empty(device=device)
    fill(model, device)
    with torch.no_grad():
        model.head.weight.mul_(HEAD_SPREAD)
    return model.eval().requires_grad_(False)


def random_autoencoder(shape: AutoencoderConfig, device: torch.device, dtype: torch.dtype
                       ) -> InfinityAutoencoder:
    with torch.device("meta"):
        model = InfinityAutoencoder.from_shape(shape)
        model.encoder.to(dtype)
        model.decoder.to(dtype)
    model.to_empty(device=device)
    fill(model, device)
    return model.eval().requires_grad_(False)


def text_encoder_config(channels: int) -> Any:
    """flan-t5-xl's shape; a small one for other widths than its 2048."""
    from transformers import T5Config

    size: dict[str, Any]
    if channels == 2048:
        size = {"d_kv": 64, "d_ff": 5120, "num_layers": 24, "num_heads": 32}
    else:
        size = {"d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 2}
    return T5Config(vocab_size=32128, d_model=channels, dropout_rate=0.0,
                    feed_forward_proj="gated-gelu", **size)


def random_text_encoder(channels: int, device: torch.device, dtype: torch.dtype) -> Any:
    from transformers import T5EncoderModel

    with torch.device("meta"):
        model: Any = T5EncoderModel(text_encoder_config(channels))
        model.to(dtype)
    model.to_empty(device=device)
    model.tie_weights()
    fill(model, device)
    return model.eval().requires_grad_(False)


def fill(module: nn.Module, device: torch.device, seed: int = 0) -> None:
    """Seeded Gaussians in place, scaled so that activations neither die nor overflow: products
    keep the spread of their input, gates let 30 % of an update through."""
    generator = torch.Generator(device).manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("log_scale"):
                parameter.fill_(1.386)  # log 4: where training starts
            elif name.endswith("modulation"):
                parameter.normal_(std=0.3, generator=generator)
            elif "norm" in name:
                parameter.fill_(float(name.endswith("weight")))
            elif parameter.ndim < 2:
                parameter.normal_(std=0.02, generator=generator)
            elif name.endswith(("null_text", "shared.weight", "embed_tokens.weight")):
                parameter.normal_(generator=generator)
            else:
                fan_in = parameter[0].numel()
                gain = 0.3 if name.startswith("shared_modulation") else 1.0
                parameter.normal_(std=gain * fan_in**-0.5, generator=generator)
        for buffer in module.buffers():
            buffer.zero_()


def word_tokenizer(words: Sequence[str] = WORDS) -> Any:
    """One token a word, and the end token."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(("<pad>", "</s>", "<unk>", *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]  # a property
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]  # too
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>",
                                   eos_token="</s>", unk_token="<unk>")

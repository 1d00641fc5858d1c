"""Models of a given shape with random weights, for measuring times and memory.

Pictures of such models mean nothing. Their activations neither die nor overflow, and their logits
have about the spread that those of trained models have.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .autoencoder import InfinityAutoencoder
from .config import AutoencoderConfig, TransformerConfig
from .transformer import InfinityTransformer

WORDS = tuple(f"word{i}" for i in range(500))
HEAD_SPREAD = 2.0
"""Spread of the logits, about that of trained models: bits are neither coin flips nor settled."""
POOL = 1 << 24
"""Numbers that a CPU draws at most for one tensor; longer ones repeat them, as a CPU draws some
millions a second and models have milliards."""


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
    """Encoder and decoder in ``dtype``."""
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
    """A T5 encoder of :func:`text_encoder_config`."""
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
    if device.type == "meta":  # models of which only shapes are wanted
        return
    generator = torch.Generator(device).manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("log_scale"):
                parameter.fill_(1.386)  # log 4: where training starts
            elif name.endswith("modulation"):
                _draw(parameter, 0.3, generator)
            elif "norm" in name:
                parameter.fill_(float(name.endswith("weight")))
            elif parameter.ndim < 2:
                _draw(parameter, 0.02, generator)
            elif name.endswith(("null_text", "shared.weight", "embed_tokens.weight")):
                _draw(parameter, 1.0, generator)
            else:
                fan_in = parameter[0].numel()
                gain = 0.3 if name.startswith("shared_modulation") else 1.0
                _draw(parameter, gain * fan_in**-0.5, generator)
        for buffer in module.buffers():
            buffer.zero_()


def _draw(parameter: Tensor, std: float, generator: torch.Generator) -> None:
    """Gaussians in place. A GPU draws all of them; a CPU repeats a piece where there are many."""
    if parameter.device.type == "cuda" or parameter.numel() <= POOL:
        parameter.normal_(std=std, generator=generator)
        return
    flat = parameter.view(-1)
    flat[:POOL].normal_(std=std, generator=generator)
    for start in range(POOL, flat.numel(), POOL):
        part = flat[start : start + POOL]
        part.copy_(flat[: part.numel()])


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

"""Small random models for tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from toprovar.models.autoencoder import InfinityAutoencoder
from toprovar.models.text import PackedText
from toprovar.models.transformer import InfinityTransformer


def fill(module: nn.Module, seed: int = 0, std: float = 0.08) -> None:
    """Seeded Gaussians everywhere, so that nothing is zero and every path matters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
        for name, parameter in module.named_parameters():
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1)
            if name.endswith("log_scale"):
                parameter.add_(1.5)


def tiny_transformer(seed: int = 0, **changes: Any) -> InfinityTransformer:
    settings: dict[str, Any] = {
        "depth": 3, "width": 32, "num_heads": 2, "bits_per_token": 8, "text_channels": 24,
        "text_max_length": 16, "block_chunks": 3,
    }
    model = InfinityTransformer(**(settings | changes))
    fill(model, seed)
    return model.eval()


def tiny_autoencoder(seed: int = 0, **changes: Any) -> InfinityAutoencoder:
    settings: dict[str, Any] = {
        "latent_channels": 8, "base_channels": 32, "channel_multipliers": (1, 1, 2),
        "blocks_per_level": 1, "stride": 16, "stem_patch": 4,
    }
    model = InfinityAutoencoder(**(settings | changes))
    fill(model, seed, std=0.05)
    return model.eval()


def random_text(*lengths: int, channels: int = 24, seed: int = 0) -> PackedText:
    generator = torch.Generator().manual_seed(seed)
    return PackedText(torch.randn(sum(lengths), channels, generator=generator), lengths)


WORDS = ["a", "an", "red", "blue", "apple", "cat", "dog", "car", "two", "and", "of", "on", "the",
         "left", "background", "photo"]


def tiny_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


def tiny_text_encoder(channels: int = 24) -> Any:
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(0)
    return T5EncoderModel(T5Config(
        vocab_size=len(WORDS) + 3, d_model=channels, d_kv=8, num_heads=2, num_layers=2, d_ff=32,
        dropout_rate=0.0,
    )).eval()


def tiny_pipeline(**changes: Any) -> Any:
    from toprovar.pipeline import InfinityPipeline

    pipeline = InfinityPipeline(
        tiny_transformer(**changes), tiny_autoencoder(), tiny_text_encoder(), tiny_tokenizer(),
        default_pn="0.06M",
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline

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
            if name.endswith("norm.weight") or ".norm" in name and name.endswith("weight"):
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

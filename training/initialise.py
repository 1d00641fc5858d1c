"""First weights. The modules leave their parameters empty, so every one is set here."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from toprovar.models.autoencoder import InfinityAutoencoder, ResidualBlock
from toprovar.models.blocks import Block
from toprovar.models.transformer import InfinityTransformer

HEAD_SCALE = 4.0
_GATE = 0.1
_HEAD = 0.02


def _blank(model: nn.Module) -> None:
    """Mark every parameter, so that a forgotten one is seen."""
    for p in model.parameters():
        nn.init.constant_(p, math.nan)


def _assert_set(model: nn.Module) -> None:
    left = [name for name, p in model.named_parameters() if bool(p.isnan().any())]
    if left:
        raise AssertionError(f"never initialised: {', '.join(left)}")


def _normal(p: Tensor, std: float, generator: torch.Generator) -> None:
    nn.init.trunc_normal_(p, std=std, a=-2 * std, b=2 * std, generator=generator)


@torch.no_grad()
def initialise_transformer(model: InfinityTransformer, seed: int) -> None:
    """Truncated normals; branches scaled by depth, small gates, a small head."""
    _blank(model)
    g = torch.Generator().manual_seed(seed)
    c = model.shape
    std = math.sqrt(1 / (3 * c.width))
    for module in model.modules():
        if isinstance(module, nn.Linear):
            _normal(module.weight, std, g)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    _normal(model.null_text, 0.5, g)
    nn.init.ones_(model.text_norm.weight)
    _normal(model.text_pool.query, 1.0, g)
    nn.init.zeros_(model.text_pool.v_bias)
    for linear in (model.text_pool.to_kv, model.text_proj.fc1):
        _normal(linear.weight, math.sqrt(1 / c.text_channels), g)
    _normal(model.start, std, g)
    _normal(model.level_embed.weight, std, g)
    # Summed codes are small numbers: a wider first matrix lets the tokens outweigh the level.
    _normal(model.token_embed.weight, math.sqrt(1 / c.bits_per_token), g)
    for layer in range(c.depth):
        _initialise_block(model.block(layer), std, c.depth, g)
    model.head.weight.mul_(_HEAD)
    _assert_set(model)


def _initialise_block(block: Block, std: float, depth: int, g: torch.Generator) -> None:
    _normal(block.modulation, std * 0.5, g)
    block.modulation[:, :, :2] = _GATE  # gamma1 and gamma2
    nn.init.constant_(block.self_attn.log_scale, math.log(HEAD_SCALE))
    for bias in (block.self_attn.q_bias, block.self_attn.v_bias, block.cross_attn.v_bias):
        nn.init.zeros_(bias)
    nn.init.ones_(block.cross_norm.weight)
    nn.init.zeros_(block.cross_norm.bias)
    for last in (block.self_attn.proj, block.cross_attn.proj, block.ffn.fc2):
        last.weight.div_(math.sqrt(2 * depth))


@torch.no_grad()
def initialise_autoencoder(model: InfinityAutoencoder, seed: int) -> None:
    """He-scaled convolutions; the last one of each residual block starts small."""
    _blank(model)
    g = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            _normal(module.weight, math.sqrt(1 / fan_in), g)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.GroupNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    for module in model.modules():
        if isinstance(module, ResidualBlock):
            module.conv2.weight.mul_(0.3)
    _assert_set(model)

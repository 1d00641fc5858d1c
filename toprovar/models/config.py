"""What a model is made of, as validated values; nothing here needs torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

_LARGEST = 1 << 31

INFINITY, VAREDIT = FAMILIES = ("infinity", "varedit")
"""What a transformer was trained for: drawing from text, or editing a picture by an instruction."""


def _require(ok: bool, message: str) -> None:
    if not ok:
        raise ValueError(message)


def _require_whole(name: str, value: object, least: int = 1) -> None:
    _require(isinstance(value, int) and not isinstance(value, bool) and least <= value <= _LARGEST,
             f"{name} must be a whole number from {least} to {_LARGEST}, got {value!r:.80}")


@dataclass(frozen=True)
class TransformerConfig:
    """Shape of an Infinity transformer.

    Attributes:
        depth: number of blocks.
        width: channels C.
        num_heads: attention heads H; the head size is C / H and must be a multiple of 4
            (half of it rotates with y, half with x, in pairs).
        bits_per_token: d, bits predicted for each token (4 x the VAE's bits with patchify).
        text_channels: width of the text encoder's features.
        text_max_length: rows of the learned null text.
        pool_heads: heads of the text pooling; 0 = the official rule.
        mlp_hidden: hidden width of the feed-forward; 0 = the official rule.
        spatial_patchify: a token holds 2 x 2 latent pixels (the 8B models).
        block_chunks: how the official checkpoint groups its blocks; only names depend on it,
            and where the level embedding is added if ``level_embed_every_chunk``.
        level_embed_every_chunk: add the level embedding before every chunk instead of only
            before the first block (False in every released model).
        num_levels: rows of the level embedding table.
        family: "infinity" draws from text; "varedit" edits a source picture. Both have the same
            weights by name and shape, so that only whoever loads a file can say which it is.
    """

    depth: int
    width: int
    num_heads: int
    bits_per_token: int
    text_channels: int = 2048
    text_max_length: int = 512
    pool_heads: int = 0
    mlp_hidden: int = 0
    spatial_patchify: bool = False
    block_chunks: int = 1
    level_embed_every_chunk: bool = False
    num_levels: int = 15
    family: str = INFINITY

    def __post_init__(self) -> None:
        for name in ("depth", "width", "num_heads", "bits_per_token", "text_channels",
                     "text_max_length", "block_chunks", "num_levels"):
            _require_whole(name, getattr(self, name))
        for name in ("pool_heads", "mlp_hidden"):
            _require_whole(name, getattr(self, name), least=0)
        for name in ("spatial_patchify", "level_embed_every_chunk"):
            value = getattr(self, name)
            _require(isinstance(value, bool), f"{name} must be true or false, got {value!r:.80}")
        _require(self.family in FAMILIES,
                 f"family must be one of {', '.join(FAMILIES)}, got {self.family!r:.80}")
        if not self.pool_heads:
            object.__setattr__(
                self, "pool_heads", default_pool_heads(self.text_channels, self.width)
            )
        if not self.mlp_hidden:
            object.__setattr__(self, "mlp_hidden", default_mlp_hidden(self.width))
        _require(self.width % self.num_heads == 0,
                 f"width {self.width} is not a multiple of num_heads {self.num_heads}")
        _require(self.head_dim % 4 == 0,
                 f"head size {self.head_dim} (width / num_heads) is not a multiple of 4")
        _require(self.width % self.pool_heads == 0,
                 f"width {self.width} is not a multiple of pool_heads {self.pool_heads}")
        _require(self.depth % self.block_chunks == 0,
                 f"depth {self.depth} is not a multiple of block_chunks {self.block_chunks}")
        _require(not self.spatial_patchify or self.bits_per_token % 4 == 0,
                 f"patchify needs bits_per_token divisible by 4, got {self.bits_per_token}")

    @property
    def head_dim(self) -> int:
        return self.width // self.num_heads

    @property
    def edits(self) -> bool:
        """Whether a run begins with the tokens of a source picture (see ``sampling.source``)."""
        return self.family == VAREDIT

    @property
    def blocks_per_chunk(self) -> int:
        return self.depth // self.block_chunks

    @property
    def latent_channels(self) -> int:
        """Channels of the VAE that fits."""
        return self.bits_per_token // 4 if self.spatial_patchify else self.bits_per_token

    @property
    def patch(self) -> int:
        """Latent pixels a side that one token holds."""
        return 2 if self.spatial_patchify else 1

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def default_pool_heads(text_channels: int, width: int) -> int:
    """Official rule: one pooling head per 128 text channels (64 for widths above 4096)."""
    return max(1, text_channels // (64 if width > 4096 else 128))


def default_mlp_hidden(width: int) -> int:
    """Official rule: four times the width, rounded to a multiple of 256."""
    return max(256, round(4 * width / 256) * 256)


@dataclass(frozen=True)
class AutoencoderConfig:
    """Shape of a BSQ autoencoder.

    Attributes:
        latent_channels: bits per latent pixel.
        base_channels: width of the finest level.
        channel_multipliers: width of each level as a multiple of ``base_channels``, finest first.
        blocks_per_level: residual blocks a level in the encoder (the decoder has one more).
        stride: image pixels a side per latent pixel, the stem included.
        stem_patch: 1 for every released model; p > 1 folds p x p pixels into channels before the
            first convolution (space to depth) and unfolds them after the last.
    """

    latent_channels: int
    base_channels: int = 128
    channel_multipliers: tuple[int, ...] = (1, 2, 4, 4, 4)
    blocks_per_level: int = 2
    stride: int = 16
    stem_patch: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "channel_multipliers", tuple(self.channel_multipliers))
        for name in ("latent_channels", "base_channels", "blocks_per_level", "stride",
                     "stem_patch"):
            _require_whole(name, getattr(self, name))
        _require(1 <= len(self.channel_multipliers) <= 16,
                 f"there must be 1 to 16 channel_multipliers, got {len(self.channel_multipliers)}")
        for value in self.channel_multipliers:
            _require_whole("every one of channel_multipliers", value)
        steps = self.stride // self.stem_patch
        _require(self.stride % self.stem_patch == 0 and steps & (steps - 1) == 0,
                 f"stride {self.stride} / stem_patch {self.stem_patch} must be a power of two")
        _require(self.downsamplings < len(self.channel_multipliers) or self.downsamplings == 0,
                 f"stride {self.stride} needs {self.downsamplings} downsamplings but there are "
                 f"only {len(self.channel_multipliers)} levels")
        for width in self.level_widths:
            _require(width % group_count(width) == 0,
                     f"level width {width} does not divide into {group_count(width)} groups")

    @property
    def downsamplings(self) -> int:
        return (self.stride // self.stem_patch).bit_length() - 1

    @property
    def level_widths(self) -> tuple[int, ...]:
        return tuple(self.base_channels * m for m in self.channel_multipliers)

    @property
    def image_channels(self) -> int:
        """Channels at the first convolution's input (3, or 3 p^2 behind the stem)."""
        return 3 * self.stem_patch**2

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "channel_multipliers": list(self.channel_multipliers)}


def group_count(channels: int) -> int:
    """Groups of the normalisation: 24 where only 24 divides the channels, else 32."""
    return 24 if channels % 24 == 0 and channels % 32 else 32

"""Tells from names and shapes which model a checkpoint holds; reads no tensor."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ..models.config import AutoencoderConfig, TransformerConfig
from ..models.variants import chunks_by_size, patchify_by_bits
from .errors import CheckpointError
from .hints import ADAPTER, is_adapter, what_else
from .keys import (
    NativeNames,
    autoencoder_native,
    autoencoder_official,
    transformer_native,
    transformer_official,
)
from .sources import TensorSource

Kind = Literal["transformer", "vae"]
Config = TransformerConfig | AutoencoderConfig
Shapes = Mapping[str, tuple[int, ...]]

MAX_DEPTH = 512
"""Deepest model that is believed; guards against numbers made up by a hostile file."""

_TRANSFORMER = re.compile(
    r"(?:null_text|(?:token_embed|level_embed|shared_modulation|head_modulation)\.weight"
    r"|blocks\.[0-9]+\.(?:self_attn|cross_attn|cross_norm)\..+)"
)
_AUTOENCODER = re.compile(
    r"(?:encoder|decoder)\.(?:(?:conv_in|conv_out|norm_out)\.weight|levels\.[0-9]+\..+)"
)
_BLOCK = re.compile(r"blocks\.([0-9]+)\.")
_LEVEL = re.compile(r"encoder\.levels\.([0-9]+)\.(?:blocks\.([0-9]+)|step)\.")


@dataclass(frozen=True)
class Recognition:
    """What a checkpoint is.

    Attributes:
        kind: "transformer" or "vae".
        config: its shape.
        names: our tensor names -> the file's.
        official: the file uses official names.
    """

    kind: Kind
    config: Config
    names: Mapping[str, str]
    official: bool


def recognise(source: TensorSource, *, patchify: bool | None = None) -> Recognition:
    """Finds the configuration of a checkpoint.

    Args:
        patchify: whether a transformer's tokens hold 2 x 2 latent pixels. A transformer does not
            show it; None = as in the known model with as many bits a token.

    Raises:
        CheckpointError: it is something else, or too little of a model to tell its shape.
    """
    keys = source.keys()
    try:
        transformer, autoencoder = transformer_native(keys), autoencoder_native(keys)
    except ValueError as error:
        raise CheckpointError(source.path, "two names for one tensor", key=str(error)) from None
    of_transformer = sum(1 for n in transformer.names if _TRANSFORMER.fullmatch(n))
    of_autoencoder = sum(1 for n in autoencoder.names if _AUTOENCODER.fullmatch(n))
    if of_transformer and of_autoencoder:
        raise CheckpointError(
            source.path, "mixes a transformer and a VAE",
            note=f"{of_transformer} tensors of one, {of_autoencoder} of the other",
        )
    if of_transformer and is_adapter(source.raw_keys()):
        raise CheckpointError(source.path, f"not a whole transformer: this is {ADAPTER}; merge it "
                              "into the model it was made for")
    if of_transformer:
        return _transformer(source, transformer, patchify)
    other = what_else(keys if of_autoencoder else source.raw_keys())
    if of_autoencoder and other is None:
        return _autoencoder(source, autoencoder)
    keys = source.raw_keys()
    shown = ", ".join(keys[:3])
    raise CheckpointError(
        source.path, "not an Infinity transformer or VAE" + (f": this is {other}" if other else ""),
        note=f"{len(keys)} tensors, e.g. {shown}",
    )


class _Votes:
    """Reads one number of a configuration off many tensors and takes the commonest value, so
    that a single wrong tensor is found out rather than believed."""

    def __init__(
        self, source: TensorSource, names: NativeNames, official: Callable[[str], str]
    ) -> None:
        self.source, self.names = source, names.names
        self.spell = official if names.official else str
        self.shapes: Shapes = {ours: source.shape(key) for ours, key in names.names.items()}

    def take(self, pattern: str, axis: int, example: str, rank: int) -> int:
        """Commonest size of ``axis`` in tensors of this rank whose name matches.

        Raises CheckpointError about ``example`` if there is none.
        """
        match = re.compile(pattern).fullmatch
        votes = Counter(
            shape[axis] for name, shape in self.shapes.items()
            if len(shape) == rank and shape[axis] > 0 and match(name)
        )
        if votes:
            return votes.most_common(1)[0][0]
        found = self.shapes.get(example)
        raise CheckpointError(
            self.source.path,
            "missing, so that the model's shape cannot be told" if found is None else "wrong shape",
            key=self.names.get(example) or self.spell(example),
            expected=None if found is None else f"{rank} axes, none empty", found=found,
        )

    def build(self, make: Callable[[], Config]) -> Config:
        try:
            return make()
        except CheckpointError:
            raise
        except ValueError as error:
            raise CheckpointError(
                self.source.path, f"the shapes fit no model: {error}"
            ) from None


def _count(source: TensorSource, what: str, numbers: Iterable[str | int], most: int) -> int:
    """1 + the largest of ``numbers``, which must be at most ``most``."""
    count = 1 + max((int(n) for n in numbers), default=-1)
    if not 1 <= count <= most:
        raise CheckpointError(
            source.path, f"implausible number of {what}", expected=f"1 to {most}", found=count
        )
    return count


def _transformer(
    source: TensorSource, names: NativeNames, patchify: bool | None
) -> Recognition:
    numbers = [int(m[1]) for n in names.names if (m := _BLOCK.match(n))]
    if names.block_chunks:  # the last chunk may lack blocks: that is for the check to find
        numbers.append(names.block_chunks * names.per_chunk - 1)
    depth = _count(source, "blocks", numbers, MAX_DEPTH)
    chunks = (names.block_chunks or 1) if names.official else 1
    votes = _Votes(source, names, lambda name: transformer_official(name, depth, chunks))
    block = r"blocks\.[0-9]+\."
    width = votes.take(
        block + r"(?:self_attn\.(?:q_bias|v_bias|proj\.bias)|ffn\.fc2\.bias|cross_norm\.weight)",
        0, "blocks.0.self_attn.q_bias", 1,
    )
    bits = votes.take(r"token_embed\.weight", 1, "token_embed.weight", 2)
    config = votes.build(lambda: TransformerConfig(
        depth=depth,
        width=width,
        num_heads=votes.take(
            block + r"self_attn\.log_scale", 1, "blocks.0.self_attn.log_scale", 4
        ),
        bits_per_token=bits,
        text_channels=votes.take(
            r"(?:null_text|(?:text_pool\.to_kv|text_proj\.fc1)\.weight)", 1, "null_text", 2
        ),
        text_max_length=votes.take(r"null_text", 0, "null_text", 2),
        pool_heads=votes.take(r"text_pool\.query", 1, "text_pool.query", 3),
        mlp_hidden=votes.take(block + r"ffn\.fc1\.weight", 0, "blocks.0.ffn.fc1.weight", 2),
        spatial_patchify=patchify_by_bits(bits) if patchify is None else patchify,
        block_chunks=chunks if names.official else chunks_by_size(depth, width),
        num_levels=votes.take(r"level_embed\.weight", 0, "level_embed.weight", 2),
    ))
    return Recognition("transformer", config, names.names, names.official)


def _autoencoder(source: TensorSource, names: NativeNames) -> Recognition:
    votes = _Votes(source, names, autoencoder_official)
    found = [m for n in names.names if (m := _LEVEL.match(n))]
    levels = _count(source, "VAE levels", (m[1] for m in found), 16)
    blocks = _count(source, "VAE blocks a level", (m[2] for m in found if m[2]), 64)
    steps = len({m[1] for m in found if m[2] is None})
    side = r"(?:encoder|decoder)\."
    base = votes.take(r"encoder\.conv_in\.(?:weight|bias)", 0, "encoder.conv_in.weight", 4)
    widths = [
        votes.take(
            side + rf"levels\.{level}\.blocks\.[0-9]+\.conv[12]\.weight", 0,
            f"encoder.levels.{level}.blocks.0.conv1.weight", 4,
        )
        for level in range(levels)
    ]
    for level, width in enumerate(widths):
        if width % base:
            raise CheckpointError(
                source.path, f"VAE level {level} is no whole multiple of the first convolution",
                expected=f"a multiple of {base}", found=width,
            )
    image_channels = votes.take(r"encoder\.conv_in\.weight", 1, "encoder.conv_in.weight", 4)
    patch = next((p for p in range(1, 65) if 3 * p * p == image_channels), None)
    if patch is None:
        raise CheckpointError(
            source.path, "the VAE does not take RGB images", found=f"{image_channels} channels",
            key=names.names["encoder.conv_in.weight"], expected="3 (or 3 p^2) channels",
        )
    config = votes.build(lambda: AutoencoderConfig(
        latent_channels=votes.take(r"encoder\.conv_out\.weight", 0, "encoder.conv_out.weight", 4),
        base_channels=base,
        channel_multipliers=tuple(width // base for width in widths),
        blocks_per_level=blocks,
        stride=patch << steps,
        stem_patch=patch,
    ))
    return Recognition("vae", config, names.names, names.official)


def match_autoencoder(transformer: TransformerConfig, channels: int) -> TransformerConfig:
    """The transformer's configuration with patchify as a VAE of so many channels needs it.

    Raises:
        ValueError: they do not belong together; the message says why.
    """
    bits = transformer.bits_per_token
    if bits not in (channels, 4 * channels):
        raise ValueError(
            f"the transformer predicts {bits} bits a token, the VAE has {channels} channels "
            f"(it goes with {channels} or {4 * channels} bits)"
        )
    return replace(transformer, spatial_patchify=bits == 4 * channels)

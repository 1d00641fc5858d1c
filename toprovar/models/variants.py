"""Named models: configurations, which VAE goes with which transformer, sampling defaults.

The table is data (``data/variants.json``). A name is only ever derived from a configuration, that
is from a checkpoint's keys and shapes, never from a file's name.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..files import DATA
from .config import AutoencoderConfig, TransformerConfig

_COMPARED = (
    "depth", "width", "num_heads", "text_channels", "pool_heads", "mlp_hidden", "spatial_patchify",
    "level_embed_every_chunk", "family",
)


@dataclass(frozen=True)
class TransformerVariant:
    """A named transformer.

    Attributes:
        name: short name ("2b").
        title: one line for people.
        config: its shape.
        vae: name of the autoencoder variant that goes with it.
        pn: pixel budget it was trained for.
        cfg: default classifier-free guidance.
        tau: default temperature of the logits.
        top_k, top_p: default sampling limits.
        released: weights exist; the other sizes are known to the official code only, their
            ``bits_per_token`` is whatever VAE they were trained with.
        same_shape: names of variants whose configuration is equal (8b and 8b-512 differ in
            training resolution alone, so that a checkpoint does not tell which it is).
    """

    name: str
    title: str
    config: TransformerConfig
    vae: str
    pn: str
    cfg: float
    tau: float
    top_k: int
    top_p: float
    released: bool
    same_shape: tuple[str, ...]


@dataclass(frozen=True)
class AutoencoderVariant:
    """A named autoencoder; ``same_shape`` as in :class:`TransformerVariant` (d32 and d32reg)."""

    name: str
    config: AutoencoderConfig
    note: str
    same_shape: tuple[str, ...]


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    text = (DATA / "variants.json").read_text(encoding="utf-8")
    return json.loads(text)


def _twins(configs: dict[str, Any], name: str) -> tuple[str, ...]:
    return tuple(n for n, c in configs.items() if n != name and c == configs[name])


@lru_cache(maxsize=1)
def transformer_variants() -> dict[str, TransformerVariant]:
    """Every named transformer by name."""
    rows = _table()["transformers"]
    configs = {name: TransformerConfig(**row["config"]) for name, row in rows.items()}
    return {
        name: TransformerVariant(
            name, row["title"], configs[name], row["vae"], row["pn"], row["cfg"], row["tau"],
            **_table()["sampling"], released=row["released"], same_shape=_twins(configs, name),
        )
        for name, row in rows.items()
    }


@lru_cache(maxsize=1)
def autoencoder_variants() -> dict[str, AutoencoderVariant]:
    """Every named autoencoder by name."""
    rows = _table()["autoencoders"]
    configs = {name: AutoencoderConfig(**row["config"]) for name, row in rows.items()}
    return {
        name: AutoencoderVariant(name, configs[name], row.get("note", ""), _twins(configs, name))
        for name, row in rows.items()
    }


def get_variant(name: str) -> TransformerVariant:
    """The named transformer; ValueError lists the names if there is none."""
    variants = transformer_variants()
    if name not in variants:
        raise ValueError(f"unknown model {name!r}; expected one of {', '.join(variants)}")
    return variants[name]


def drawing_variants() -> list[str]:
    """Names of those that draw from text; the others edit pictures."""
    return [name for name, variant in transformer_variants().items() if not variant.config.edits]


def recognise_variant(config: TransformerConfig) -> str | None:
    """Name of the transformer that has this configuration, or None.

    The rows of the null text and of the level table do not matter (both may be cut or extended),
    nor the chunks, which are names only; for sizes without released weights any VAE fits. Of
    variants with equal shapes the first is named: "8b" also stands for 8b-512, see ``same_shape``.
    """
    for name, variant in transformer_variants().items():
        fields = _COMPARED + (("bits_per_token",) if variant.released else ())
        if all(getattr(config, f) == getattr(variant.config, f) for f in fields):
            return name
    return None


def default_sampling(config: TransformerConfig) -> dict[str, Any]:
    """The pipeline's ``default_pn``, ``default_cfg`` and ``default_tau`` for a known
    configuration; for others those of the family, if it has any. 8b-512 looks like 8b and gets its
    pixel budget."""
    name = recognise_variant(config)
    if name is None:
        return {f"default_{key}": value for key, value in _table()["families"].get(
            config.family, {}).items()}
    variant = get_variant(name)
    return {"default_pn": variant.pn, "default_cfg": variant.cfg, "default_tau": variant.tau}


def recognise_autoencoder(config: AutoencoderConfig) -> str | None:
    """Name of the autoencoder that has this configuration, or None.

    Of variants with equal shapes the first is named: "d32reg" also stands for d32.
    """
    for name, variant in autoencoder_variants().items():
        if variant.config == config:
            return name
    return None


def autoencoder_for(config: TransformerConfig) -> str | None:
    """Name of the autoencoder that fits a transformer by its bits, or None."""
    name = recognise_variant(config)
    if name and get_variant(name).config.bits_per_token == config.bits_per_token:
        return get_variant(name).vae
    stride = 16 // config.patch
    for name, variant in autoencoder_variants().items():
        shape = variant.config
        if (shape.latent_channels, shape.stride) == (config.latent_channels, stride):
            return name
    return None


def patchify_by_bits(bits_per_token: int) -> bool:
    """Whether known transformers with this many bits a token hold 2 x 2 latent pixels each."""
    return any(
        v.config.bits_per_token == bits_per_token and v.config.spatial_patchify
        for v in transformer_variants().values()
    )


def chunks_by_size(depth: int, width: int) -> int:
    """How the official checkpoint of this size groups its blocks; 1 for unknown sizes."""
    for variant in transformer_variants().values():
        if (variant.config.depth, variant.config.width) == (depth, width):
            return variant.config.block_chunks
    return 1

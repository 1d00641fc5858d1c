"""Official tensor names and ours, both ways. Names change, tensors never do.

``transformer_native`` and ``autoencoder_native`` also accept our own names and return them as
they are, so a file in either naming reads the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

Renames = tuple[tuple[str, str], ...]

OUTER: Renames = (
    ("cfg_uncond", "null_text"),
    ("pos_start", "start"),
    ("text_proj_for_sos.ca.mat_q", "text_pool.query"),
    ("text_proj_for_sos.ca.mat_kv", "text_pool.to_kv"),
    ("text_proj_for_sos.ca", "text_pool"),
    ("text_proj_for_ca.0", "text_proj.fc1"),
    ("text_proj_for_ca.2", "text_proj.fc2"),
    ("lvl_embed", "level_embed"),
    ("word_embed", "token_embed"),
    ("shared_ada_lin.1", "shared_modulation"),
    ("head_nm.ada_lin.1", "head_modulation"),
)
"""(official, ours) prefixes outside the blocks; names not listed are the same in both."""

INNER: Renames = (
    ("ada_gss", "modulation"),
    ("sa.scale_mul_1H11", "self_attn.log_scale"),
    ("sa.mat_qkv", "self_attn.to_qkv"),
    ("sa", "self_attn"),
    ("ca.mat_q", "cross_attn.to_q"),
    ("ca.mat_kv", "cross_attn.to_kv"),
    ("ca", "cross_attn"),
    ("ca_norm", "cross_norm"),
)
"""(official, ours) prefixes inside a block."""

DEAD = ("lvl_1L", "attn_bias_for_masking", "rope2d_freqs_grid")
"""Buffers that transformer checkpoints may carry and nothing reads: tables made from the
schedule."""

MASKS = ("quantizer.lfq.mask", "quantize.lfq.mask")
"""Constant buffers of the official VAE, see :func:`lfq_mask`."""

_CHUNK = re.compile(r"block_chunks\.([0-9]{1,4})\.module\.([0-9]{1,4})\.(.+)")
_BLOCK = re.compile(r"blocks\.([0-9]{1,4})\.(.+)")


@dataclass(frozen=True)
class NativeNames:
    """Our names of a file's tensors.

    Attributes:
        names: ours -> the file's.
        official: the file uses official names.
        block_chunks: chunks the file's blocks are grouped in; None if they are not.
        per_chunk: blocks a chunk, going by the highest number.
    """

    names: dict[str, str]
    official: bool
    block_chunks: int | None = None
    per_chunk: int = 1


def _rename(name: str, renames: Renames, back: bool = False) -> str:
    for official, ours in renames:
        old, new = (ours, official) if back else (official, ours)
        if name == old or name.startswith(old + "."):
            return new + name[len(old):]
    return name


def transformer_native(keys: Iterable[str]) -> NativeNames:
    """Our names for a transformer's keys. ValueError with the key if two become one."""
    keys = list(keys)
    chunked = {key: match for key in keys if (match := _CHUNK.fullmatch(key))}
    per_chunk = 1 + max((int(m[2]) for m in chunked.values()), default=0)
    chunks = 1 + max((int(m[1]) for m in chunked.values()), default=-1)

    def native(key: str) -> str:
        if match := chunked.get(key):
            block = int(match[1]) * per_chunk + int(match[2])
            return f"blocks.{block}.{_rename(match[3], INNER)}"
        if match := _BLOCK.fullmatch(key):
            return f"blocks.{int(match[1])}.{_rename(match[2], INNER)}"
        return _rename(key, OUTER)

    names = _collect(keys, native)
    official = any(ours != key for ours, key in names.items())
    return NativeNames(names, official, chunks or None, per_chunk)


def transformer_official(name: str, depth: int, block_chunks: int) -> str:
    """Official name of our ``name``; with a single chunk the blocks are not grouped."""
    match = _BLOCK.fullmatch(name)
    if not match:
        return _rename(name, OUTER, back=True)
    inner = _rename(match[2], INNER, back=True)
    if block_chunks == 1:
        return f"blocks.{match[1]}.{inner}"
    chunk, index = divmod(int(match[1]), depth // block_chunks)
    return f"block_chunks.{chunk}.module.{index}.{inner}"


_WRAPPED = {
    "conv": {"conv_in", "conv_out", "conv1", "conv2", "nin_shortcut", "conv"},
    "norm": {"norm1", "norm2", "norm_out"},
}
"""Official convolutions and norms sit inside a wrapper (``conv1.conv.weight``)."""

_FROM_OFFICIAL = tuple((re.compile(pattern), ours) for pattern, ours in (
    (r"(encoder)\.down\.([0-9]{1,2})\.downsample\.conv", r"\1.levels.\2.step.conv"),
    (r"(decoder)\.up\.([0-9]{1,2})\.upsample\.conv", r"\1.levels.\2.step.conv"),
    (r"(encoder)\.down\.([0-9]{1,2})\.block\.([0-9]{1,2})\.(.+)", r"\1.levels.\2.blocks.\3.\4"),
    (r"(decoder)\.up\.([0-9]{1,2})\.block\.([0-9]{1,2})\.(.+)", r"\1.levels.\2.blocks.\3.\4"),
    (r"(encoder|decoder)\.mid\.block_1\.(.+)", r"\1.mid.0.\2"),
    (r"(encoder|decoder)\.mid\.block_2\.(.+)", r"\1.mid.1.\2"),
))

_TO_OFFICIAL = tuple((re.compile(pattern), official) for pattern, official in (
    (r"encoder\.levels\.([0-9]+)\.step\.conv", r"encoder.down.\1.downsample.conv"),
    (r"decoder\.levels\.([0-9]+)\.step\.conv", r"decoder.up.\1.upsample.conv"),
    (r"encoder\.levels\.([0-9]+)\.blocks\.([0-9]+)\.(.+)", r"encoder.down.\1.block.\2.\3"),
    (r"decoder\.levels\.([0-9]+)\.blocks\.([0-9]+)\.(.+)", r"decoder.up.\1.block.\2.\3"),
    (r"(encoder|decoder)\.mid\.0\.(.+)", r"\1.mid.block_1.\2"),
    (r"(encoder|decoder)\.mid\.1\.(.+)", r"\1.mid.block_2.\2"),
))


def _substitute(text: str, rules: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    for pattern, replacement in rules:
        if match := pattern.fullmatch(text):
            return match.expand(replacement)
    return text


def autoencoder_native(keys: Iterable[str]) -> NativeNames:
    """Our names for a VAE's keys, with or without the official wrappers' ``.conv`` / ``.norm``.

    ValueError with the key if two become one.
    """

    def native(key: str) -> str:
        if not key.startswith(("encoder.", "decoder.")):
            return key
        *path, leaf = key.split(".")
        if len(path) > 2 and path[-2] in _WRAPPED.get(path[-1], ()):
            path.pop()
        module = _substitute(".".join(path), _FROM_OFFICIAL)
        if module.startswith(("encoder.levels.", "decoder.levels.")):
            module = module.replace(".nin_shortcut", ".shortcut")
        return f"{module}.{leaf}"

    names = _collect(keys, native)
    return NativeNames(names, not any(n.startswith("encoder.levels.") for n in names.values()))


def autoencoder_official(name: str) -> str:
    """Official name of our ``name``, in the spelling with wrappers."""
    module, _, leaf = name.rpartition(".")
    module = _substitute(module, _TO_OFFICIAL)
    if module.endswith(".shortcut"):
        module = module.removesuffix(".shortcut") + ".nin_shortcut"
    wrapper = "norm" if module.rpartition(".")[2] in _WRAPPED["norm"] else "conv"
    return f"{module}.{wrapper}.{leaf}"


def _collect(keys: Iterable[str], native: Callable[[str], str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for key in keys:
        ours = native(key)
        if ours in names:
            raise ValueError(key)
        names[ours] = key
    return names


def lfq_mask(latent_channels: int) -> Tensor:
    """[d] int64, 2^(d-1-j): the bit weights that official VAE files carry under ``MASKS``."""
    return torch.tensor(2) ** torch.arange(latent_channels).flip(0)

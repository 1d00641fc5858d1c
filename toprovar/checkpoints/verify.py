"""Compares every name, shape and dtype of a checkpoint with the model, before anything is read."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import nn

from ..models.config import AutoencoderConfig, TransformerConfig
from .errors import CheckpointError, one_line
from .keys import DEAD, MASKS, autoencoder_official, transformer_official
from .recognise import Config, Recognition
from .sources import TensorSource

log = logging.getLogger(__name__)

WEIGHT_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def build_meta(config: Config) -> nn.Module:
    """The model without memory behind it (all tensors on the meta device)."""
    with torch.device("meta"):
        if isinstance(config, TransformerConfig):
            from ..models.transformer import InfinityTransformer

            return InfinityTransformer.from_shape(config)
        from ..models.autoencoder import InfinityAutoencoder

        return InfinityAutoencoder.from_shape(config)


@lru_cache(maxsize=8)
def expected_shapes(config: Config) -> Mapping[str, tuple[int, ...]]:
    """Our tensor names and shapes of a model, in the model's order."""
    return {name: tuple(t.shape) for name, t in build_meta(config).state_dict().items()}


def file_name(name: str, config: Config, official: bool) -> str:
    """How ``name`` is spelt in a file."""
    if not official:
        return name
    if isinstance(config, AutoencoderConfig):
        return autoencoder_official(name)
    return transformer_official(name, config.depth, config.block_chunks)


def is_constant(name: str) -> bool:
    """Buffers that are zero by definition and may be missing."""
    return name.endswith(".zero_k_bias")


@dataclass(frozen=True)
class _Problem:
    key: str
    what: str
    expected: object = None
    found: object = None


def check(source: TensorSource, recognition: Recognition) -> dict[str, str]:
    """Makes sure that a checkpoint is exactly the model it was recognised as.

    Returns:
        Our name -> the file's name of every tensor of the model (constants may be missing).

    Raises:
        CheckpointError: about the first tensor that is missing, of another shape, no floating
            numbers or unknown; it also says how many more there are.
    """
    config, names = recognition.config, recognition.names
    expected = expected_shapes(config)
    problems = [
        _Problem(file_name(name, config, recognition.official), "missing", expected=shape)
        for name, shape in expected.items() if name not in names and not is_constant(name)
    ]
    for name, shape in expected.items():
        if name in names:
            info = source.infos[names[name]]
            if info.shape != shape:
                problems.append(_Problem(names[name], "wrong shape", shape, info.shape))
            elif info.dtype not in WEIGHT_DTYPES:
                problems.append(_Problem(
                    names[name], "wrong dtype", " or ".join(map(_plain, WEIGHT_DTYPES)),
                    _plain(info.dtype),
                ))
    ignored = []
    for name, key in names.items():
        if name in expected:
            continue
        if _may_ignore(recognition, name):
            if name not in MASKS:
                ignored.append(key)
        else:
            problems.append(_Problem(key, "unexpected", found=source.infos[key].shape))
    if problems:
        first = problems[0]
        raise CheckpointError(
            source.infos[first.key].file if first.key in source.infos else source.path,
            first.what, key=first.key, expected=first.expected, found=first.found,
            note=_note(config, len(problems) - 1),
        )
    if ignored:
        log.info("%s: %d tensors that nothing uses are ignored: %s", source.path, len(ignored),
                 one_line(", ".join(ignored[:4])))
    return {name: names[name] for name in expected if name in names}


def _may_ignore(recognition: Recognition, name: str) -> bool:
    if recognition.kind == "transformer":
        return name.split(".")[0] in DEAD
    return not name.startswith(("encoder.", "decoder."))


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _note(config: Config, more: int) -> str:
    others = f"and {more} more; " if more else ""
    return f"{others}the rest looks like {describe(config)}"


def describe(config: Config) -> str:
    """One phrase about a configuration."""
    if isinstance(config, TransformerConfig):
        return (
            f"a transformer of {config.depth} blocks, width {config.width}, "
            f"{config.num_heads} heads, {config.bits_per_token} bits a token"
        )
    return f"a VAE of {config.latent_channels} channels, stride {config.stride}"

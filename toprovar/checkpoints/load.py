"""Checkpoint file -> model, without a second copy of the weights in memory."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..models.mapped import is_copied
from .inspect import Checkpoint, fit_autoencoder, inspect_checkpoint
from .loading import LOADING
from .sources import bounded
from .values import require_finite
from .verify import build_meta, expected_shapes

if TYPE_CHECKING:
    from ..models.autoencoder import InfinityAutoencoder
    from ..models.transformer import InfinityTransformer

HALF = (torch.float16, torch.bfloat16)


def load_transformer(
    path: str | PathLike[str],
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    *,
    patchify: bool | None = None,
    vae_channels: int | None = None,
    verify: bool = False,
    disable_mmap: bool = False,
    variant: str | None = None,
    family: str | None = None,
) -> InfinityTransformer:
    """Loads a transformer from an official checkpoint, a component folder or a pipeline folder.

    Args:
        dtype: of the blocks' weights; None keeps every tensor as it is in the file. In half
            precision the modules of ``InfinityTransformer._keep_in_fp32_modules`` become float32.
        device: where the weights go. On the CPU, weights that keep their dtype stay views of
            the file, whose pages the system may take back, unless they are small
            (``models.mapped``).
        patchify: tokens hold 2 x 2 latent pixels; None = as ``vae_channels`` asks for, or as the
            known model with as many bits.
        vae_channels: latent channels of the VAE it will be used with, if known.
        verify: also compare the file's checksums, where it has them. Values that are no numbers
            are looked for in any case.
        disable_mmap: copy the weights, so that the file may change afterwards.
        variant: of a folder, take the weights that were saved under this name, such as "fp16".
        family: "varedit" for a model that edits pictures by an instruction, "infinity" for one that
            draws from text; None = as a folder's config.json says, or Infinity. A file does not
            show it: where its name is one of VAREdit's, it must be said.

    Raises:
        CheckpointError: names the file, the key, what was expected and what was found.
    """
    checkpoint = inspect_checkpoint(path, kind="transformer", patchify=patchify, variant=variant,
                                    family=family)
    if vae_channels is not None:
        checkpoint = fit_autoencoder(checkpoint, vae_channels, patchify)
    model = materialise(checkpoint, dtype, device, verify, disable_mmap)
    return model  # type: ignore[return-value]  # the kind was asked for


def load_autoencoder(
    path: str | PathLike[str],
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
    *,
    ema: bool = False,
    verify: bool = False,
    disable_mmap: bool = False,
    variant: str | None = None,
) -> InfinityAutoencoder:
    """Loads a VAE; arguments as :func:`load_transformer`.

    Args:
        ema: take the averaged weights (the ``ema`` entry) of the file.
    """
    checkpoint = inspect_checkpoint(path, kind="vae", ema=ema, variant=variant)
    model = materialise(checkpoint, dtype, device, verify, disable_mmap)
    return model  # type: ignore[return-value]  # the kind was asked for


def materialise(
    checkpoint: Checkpoint, dtype: torch.dtype | None, device: torch.device | str,
    verify: bool = False,
    disable_mmap: bool = False,
) -> torch.nn.Module:
    """The model of a checked checkpoint, in evaluation mode."""
    place = torch.device(device)
    with LOADING:
        model = build_meta(checkpoint.config)
    in_fp32 = tuple(getattr(model, "_keep_in_fp32_modules", None) or ())
    source, names = checkpoint.source, checkpoint.names

    def target(name: str) -> torch.dtype:
        if dtype is None:
            return source.dtype(names[name])
        return torch.float32 if dtype in HALF and name.split(".")[0] in in_fp32 else dtype

    size = sum(source.infos[key].nbytes for key in names.values())
    mapped = place.type == "cpu" and not is_copied(size, disable_mmap)
    kept = [n for n, key in names.items() if mapped and source.dtype(key) == target(n)]
    state: dict[str, Tensor] = {}

    def take(name: str, tensor: Tensor) -> Tensor:
        key = names[name]
        if verify:
            source.verify(key)
        require_finite(source.infos[key].file, key, tensor)
        return tensor

    for name in kept:
        state[name] = take(name, source.get(names[name]))
    # What is kept lives in the mapping opened first; what is copied passes through others, which
    # are dropped as they go, so that pages already copied do not stay in memory.
    source.release()
    with bounded(source) as read:
        for name, key in names.items():
            if name not in state:
                state[name] = take(name, read(key)).to(place, target(name), copy=True)
                source.drop(key)
    for name, shape in expected_shapes(checkpoint.config).items():
        if name not in state:  # constants
            like = state[name.replace("zero_k_bias", "v_bias")]
            state[name] = torch.zeros(shape, dtype=like.dtype, device=place)
    with LOADING:
        model.load_state_dict(state, strict=True, assign=True)
    return model.eval()

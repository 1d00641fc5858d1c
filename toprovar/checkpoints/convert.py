"""Official checkpoints -> diffusers folder, and back. Nothing but names and containers changes.

Reading is one tensor at a time; everything is recognised and checked before the first byte is
written, and the output appears at its destination only when it is complete.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..files import PIPELINE_INDEX
from ..models.config import AutoencoderConfig, TransformerConfig
from ..models.variants import default_sampling
from ..schedules import pixel_budgets
from .errors import CheckpointError
from .families import size_hint
from .inspect import CLASS_NAMES, Checkpoint
from .keys import MASKS, lfq_mask
from .parts import Parts, gather
from .sources import TensorSource, bounded
from .staging import check_destination, check_space, staged
from .staging_room import clear_stale
from .text_folder import copy_encoder, copy_files
from .values import require_finite
from .verify import expected_shapes, file_name
from .writer import (
    DEFAULT_SHARD_BYTES,
    Entry,
    OnBytes,
    write_json,
    write_safetensors,
    write_sharded,
    write_torch,
)

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with bytes done and bytes in all."""

WEIGHTS_STEM = "diffusion_pytorch_model"
OFFICIAL_STEM = "model"
PIPELINE_CLASS = "InfinityPipeline"
_MODULES = {"transformer": "toprovar.models.transformer", "vae": "toprovar.models.autoencoder"}
_CLASSES = {kind: name for name, kind in CLASS_NAMES.items()}
_FILE_SUFFIXES = (".safetensors", ".pth", ".pt")
_OUTPUT_NAMES = (
    PIPELINE_INDEX, "transformer", "vae", "text_encoder", "tokenizer", "transformer.pth", "vae.pth",
)


def convert(
    sources: Sequence[str | PathLike[str]],
    destination: str | PathLike[str],
    *,
    max_shard_bytes: int = DEFAULT_SHARD_BYTES,
    ema: bool = False,
    patchify: bool | None = None,
    pn: str | None = None,
    family: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[str]:
    """Converts checkpoints; the direction follows from what the sources are.

    Official checkpoints and a folder as destination: the diffusers layout (``model_index.json``,
    ``transformer/``, ``vae/``, and ``text_encoder/``, ``tokenizer/`` copied from T5 folders; an
    encoder in one safetensors file is copied, too, and the box has its tokenizer).
    A diffusers pipeline or component and a folder: official names, ``transformer.pth`` (or, above
    ``max_shard_bytes``, a folder ``transformer/`` of shards with an index) and ``vae.pth``.
    Text folders are left out there.
    A destination ending in .safetensors, .pth or .pt: official names in that one file, whatever
    the naming of the source; a VAE's .pth has its tensors under the entry ``vae``.

    Args:
        sources: files and folders, in any order: at most one transformer, one VAE, one T5 encoder
            and one tokenizer.
        max_shard_bytes: largest safetensors file.
        ema: take the averaged weights where a file has them; a VAE must have them.
        patchify: tokens hold 2 x 2 latent pixels; None = as the VAE given needs it, or as the
            known model with as many bits a token.
        pn: pixel budget that the pipeline is to use by default; None = that of the recognised
            model (8B at 512 px looks like 8B at 1024 px: say "0.25M"), or of VAREdit that of the
            size in the file's name.
        family: "varedit" or "infinity", see :func:`~toprovar.checkpoints.load.load_transformer`;
            the folder that is written says it from then on.
        overwrite: replace what an earlier conversion wrote there.
        progress: told the bytes written.

    Returns:
        One line about each model, and one about the layout that was written.

    Raises:
        CheckpointError: something cannot be used or must not be written; nothing is left behind.
        ValueError: an argument is impossible.
    """
    paths, target = [Path(s) for s in sources], Path(destination)
    if not paths:
        raise CheckpointError(target, "nothing to convert")
    if max_shard_bytes < 1:
        raise ValueError(f"max_shard_bytes must be positive, got {max_shard_bytes}")
    if pn is not None and pn not in pixel_budgets():
        raise ValueError(f"unknown pn {pn!r}; expected one of {', '.join(pixel_budgets())}")
    parts = gather(paths, ema=ema, patchify=patchify, family=family)
    clear_stale(target.resolve().parent)
    check_destination(target, paths, overwrite, _OUTPUT_NAMES)
    as_file = target.suffix.lower() in _FILE_SUFFIXES
    if as_file and target.is_dir():
        raise CheckpointError(target, "is a folder, but its name asks for a file")
    write = _choose(parts, target, as_file, max_shard_bytes, pn)
    for checkpoint in parts.checkpoints.values():
        _compare_masks(checkpoint)
    total = sum(
        c.source.infos[key].nbytes for c in parts.checkpoints.values() for key in c.names.values()
    )
    total += sum(f.nbytes for f in {parts.encoder, parts.tokenizer} if f)
    check_space(target, total)
    done = 0

    def on_bytes(count: int) -> None:
        nonlocal done
        done += count
        if progress:
            progress(min(done, total), total)

    try:
        with staged(target, overwrite) as work:
            write(work, on_bytes)
    except OSError as error:
        raise CheckpointError(target, f"cannot be written: {error.strerror or error}") from error
    models = [f"{kind}: {c.describe()}, from {c.path}" for kind, c in parts.checkpoints.items()]
    return [*models, _told(parts, target, as_file)]


def _told(parts: Parts, target: Path, as_file: bool) -> str:
    """What was written, in words."""
    checkpoints = list(parts.checkpoints.values())
    if not as_file and any(c.official for c in checkpoints):
        return f"written: a pipeline folder, {target}"
    told = f"written: official names, {target}"
    if any(isinstance(c.config, TransformerConfig) and c.config.edits for c in checkpoints):
        told += ("; official files do not say that a model is a VAREdit model: name the family "
                 "whenever this one is loaded (--family varedit)")
    return told


def _choose(
    parts: Parts, target: Path, as_file: bool, max_bytes: int, pn: str | None
) -> Callable[[Path, OnBytes], None]:
    """What to write, from what the sources are and what the destination is called."""
    checkpoints = list(parts.checkpoints.values())
    if as_file:
        if len(checkpoints) != 1:
            raise CheckpointError(
                target, "one file takes one model", found=f"{len(checkpoints)} models"
            )
        suffix = target.suffix.lower()
        return lambda work, on_bytes: _official_file(checkpoints[0], work, suffix, on_bytes)
    if len({c.official for c in checkpoints}) > 1:
        raise CheckpointError(
            target, "the sources are of both kinds, official and converted: convert them one by one"
        )
    if any(c.official for c in checkpoints):
        return lambda work, on_bytes: _diffusers_folder(parts, work, max_bytes, pn, on_bytes)
    return lambda work, on_bytes: _official_folder(checkpoints, work, max_bytes, on_bytes)


@contextmanager
def _entries(
    checkpoint: Checkpoint, official: bool, map_all: bool = False
) -> Iterator[list[Entry]]:
    """The tensors of a model as they are to be written, constants that are missing included.

    Args:
        map_all: they will be held all at once, rather than one after the other.
    """
    config, source = checkpoint.config, checkpoint.source
    with ExitStack() as stack:
        read = source.get if map_all else stack.enter_context(bounded(source))
        entries = []
        for name, shape in expected_shapes(config).items():
            written = file_name(name, config, official)
            key = checkpoint.names.get(name)
            if key is not None:
                reader = _reader(source, read, key)
                entries.append(Entry(written, shape, source.dtype(key), reader))
            else:
                like = source.dtype(checkpoint.names[name.replace("zero_k_bias", "v_bias")])
                entries.append(_constant(written, torch.zeros(shape, dtype=like)))
        if official and isinstance(config, AutoencoderConfig):
            entries += [_constant(name, lfq_mask(config.latent_channels)) for name in MASKS]
        yield entries


def _compare_masks(checkpoint: Checkpoint) -> None:
    """The masks are made anew when official names are written: says so if the file's differ."""
    if not isinstance(checkpoint.config, AutoencoderConfig):
        return
    expected = lfq_mask(checkpoint.config.latent_channels)
    for name in MASKS:
        if name in checkpoint.source.infos:
            found = checkpoint.source.get(name)
            if found.dtype != expected.dtype or not torch.equal(found, expected):
                log.warning("%s: %s is not the usual constant and is not kept",
                            checkpoint.path, name)


def _reader(
    source: TensorSource, read: Callable[[str], Tensor], key: str
) -> Callable[[], Tensor]:
    """Reads a tensor when its turn comes, and refuses it if it is damaged."""

    def checked() -> Tensor:
        tensor = read(key)
        source.verify(key)
        require_finite(source.infos[key].file, key, tensor)
        return tensor

    return checked


def _constant(name: str, value: Tensor) -> Entry:
    return Entry(name, tuple(value.shape), value.dtype, lambda: value)


def _official_file(checkpoint: Checkpoint, work: Path, suffix: str, on_bytes: OnBytes) -> None:
    with _entries(checkpoint, official=True, map_all=suffix != ".safetensors") as entries:
        if suffix == ".safetensors":
            write_safetensors(work, entries, on_bytes)
        else:
            write_torch(work, entries, "vae" if checkpoint.kind == "vae" else None, on_bytes)


def _official_folder(
    checkpoints: Sequence[Checkpoint], work: Path, max_bytes: int, on_bytes: OnBytes
) -> None:
    work.mkdir()
    for checkpoint in checkpoints:
        size = sum(checkpoint.source.infos[key].nbytes for key in checkpoint.names.values())
        if checkpoint.kind == "vae" or size <= max_bytes:
            _official_file(checkpoint, work / f"{checkpoint.kind}.pth", ".pth", on_bytes)
        else:
            with _entries(checkpoint, official=True) as entries:
                write_sharded(work / checkpoint.kind, OFFICIAL_STEM, entries, max_bytes, on_bytes)


def _diffusers_folder(
    parts: Parts, work: Path, max_bytes: int, pn: str | None, on_bytes: OnBytes
) -> None:
    work.mkdir()
    diffusers = version("diffusers")
    index: dict[str, Any] = {"_class_name": PIPELINE_CLASS, "_diffusers_version": diffusers}
    for kind, module in _MODULES.items():
        index[kind] = [module, _CLASSES[kind]] if kind in parts.checkpoints else [None, None]
    encoder, tokenizer = parts.encoder, parts.tokenizer
    index["text_encoder"] = ["transformers", encoder.encoder_class] if encoder else [None, None]
    index["tokenizer"] = ["transformers", tokenizer.tokenizer_class] if tokenizer else [None, None]
    transformer = parts.checkpoints.get("transformer")
    if transformer and isinstance(transformer.config, TransformerConfig):
        index.update(default_sampling(transformer.config))
        if transformer.config.edits and (hint := size_hint(transformer.path)):
            index["default_pn"] = hint
    if pn is not None:
        index["default_pn"] = pn
    write_json(work / PIPELINE_INDEX, index)
    for kind, checkpoint in parts.checkpoints.items():
        with _entries(checkpoint, official=False) as entries:
            write_sharded(work / kind, WEIGHTS_STEM, entries, max_bytes, on_bytes)
        head = {"_class_name": _CLASSES[kind], "_diffusers_version": diffusers}
        write_json(work / kind / "config.json", {**head, **checkpoint.config.to_dict()})
    if encoder:
        copy_encoder(encoder, work / "text_encoder", on_bytes)
    if tokenizer:
        copy_files(tokenizer.tokenizer, work / "tokenizer", on_bytes)

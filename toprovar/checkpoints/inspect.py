"""A checkpoint opened, recognised and checked: what loading and converting start from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from ..files import PIPELINE_INDEX
from ..models.config import AutoencoderConfig, TransformerConfig
from ..models.variants import recognise_autoencoder, recognise_variant
from .errors import CheckpointError
from .families import check_family, family_of
from .reader import open_checkpoint, read_json
from .recognise import Config, Kind, match_autoencoder, recognise
from .sources import TensorSource
from .verify import check, describe

CLASS_NAMES: dict[str, Kind] = {"InfinityTransformer": "transformer", "InfinityAutoencoder": "vae"}
"""``_class_name`` in a component's config.json."""

_UNSEEN = {"spatial_patchify", "block_chunks", "level_embed_every_chunk", "family"}
"""Entries of a configuration that names and shapes do not show."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose every name and shape fits its configuration.

    Attributes:
        path: as given.
        kind: "transformer" or "vae".
        config: its shape.
        source: where the tensors are.
        names: our tensor names -> the source's, in the model's order.
        official: it uses official names (otherwise it is ours: diffusers layout or bare).
    """

    path: Path
    kind: Kind
    config: Config
    source: TensorSource
    names: Mapping[str, str]
    official: bool

    @property
    def variant(self) -> str | None:
        """Name of the known model with this configuration."""
        if isinstance(self.config, TransformerConfig):
            return recognise_variant(self.config)
        return recognise_autoencoder(self.config)

    def describe(self) -> str:
        """One phrase for people."""
        return describe(self.config) + (f" ({self.variant})" if self.variant else "")


def inspect_checkpoint(
    path: str | PathLike[str],
    *,
    kind: Kind | None = None,
    ema: bool = False,
    patchify: bool | None = None,
    variant: str | None = None,
    family: str | None = None,
) -> Checkpoint:
    """Opens, recognises and checks a checkpoint without reading its tensors.

    Args:
        path: official file or sharded folder, component folder with config.json, or, if ``kind``
            is given, a folder of a whole pipeline.
        kind: which component is expected; None = any.
        ema: take the averaged weights.
        patchify: see :func:`~toprovar.checkpoints.recognise.recognise`.
        variant: see :func:`~toprovar.checkpoints.reader.open_checkpoint`.
        family: what a transformer was trained for, one of ``FAMILIES``; None = as its folder's
            config.json says, or Infinity.

    Raises:
        CheckpointError: it is not usable or not of the expected kind; or only its name hints at
            what it was trained for.
        ValueError: there is no such family.
    """
    check_family(family)
    path = Path(path)
    folder = path
    if kind and (path / PIPELINE_INDEX).is_file():
        folder = path / kind
        if not folder.is_dir():
            raise CheckpointError(path, f"the pipeline has no {kind}")
    described = _read_config(folder) if folder.is_dir() else None
    source = open_checkpoint(folder, ema=ema, variant=variant)
    if described and not isinstance(described[1], AutoencoderConfig) and patchify is None:
        patchify = described[1].spatial_patchify
    found = recognise(source, patchify=patchify)
    if kind and found.kind != kind:
        raise CheckpointError(
            path, "another kind of checkpoint", expected=_KIND_NAMES[kind],
            found=describe(found.config),
        )
    if described:
        config = _reconcile(folder / "config.json", described, found.kind, found.config)
        if isinstance(config, TransformerConfig) and patchify is not None:
            config = replace(config, spatial_patchify=patchify)
        found = replace(found, config=config)
    if isinstance(found.config, TransformerConfig):
        own = family or found.config.family if described else family_of(path, family)
        found = replace(found, config=replace(found.config, family=own))
    return Checkpoint(path, found.kind, found.config, source, check(source, found), found.official)


def fit_autoencoder(
    transformer: Checkpoint,
    channels: int,
    patchify: bool | None = None,
    vae_path: str | PathLike[str] | None = None,
) -> Checkpoint:
    """The transformer with patchify as a VAE of so many channels needs it.

    Args:
        patchify: what was asked for; None = nothing.
        vae_path: the VAE's file, to be named in errors; None = the transformer's own is.

    Raises:
        CheckpointError: they do not belong together.
    """
    assert isinstance(transformer.config, TransformerConfig)
    path = transformer.path if vae_path is None else vae_path
    try:
        config = match_autoencoder(transformer.config, channels)
    except ValueError as error:
        raise CheckpointError(path, f"the transformer {transformer.path} and the VAE do not belong "
                              f"together: {error}") from None
    if patchify not in (None, config.spatial_patchify):
        raise CheckpointError(path, "the VAE does not fit the patchify asked for",
                              expected=patchify, found=config.spatial_patchify)
    return replace(transformer, config=config)


_KIND_NAMES = {"transformer": "an Infinity transformer", "vae": "an Infinity VAE"}


def _read_config(folder: Path) -> tuple[Kind, Config] | None:
    """What a component folder of ours says it is; None if it is another kind of folder."""
    file = folder / "config.json"
    if not file.is_file():
        return None
    content = read_json(file)
    kind = CLASS_NAMES.get(str(content.get("_class_name")))
    if kind is None:
        return None
    return kind, parse_config(file, kind, content)


def parse_config(file: Path, kind: Kind, content: Mapping[str, Any]) -> Config:
    """The configuration in a component's config.json; entries that begin with _ are not ours."""
    cls = TransformerConfig if kind == "transformer" else AutoencoderConfig
    known = {field.name for field in dataclasses.fields(cls)}
    values = {k: v for k, v in content.items() if not k.startswith("_")}
    for key in values:
        if key not in known:
            raise CheckpointError(file, f"unknown entry of an {cls.__name__}", key=key)
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise CheckpointError(file, f"not a valid configuration: {error}") from None


def _reconcile(file: Path, described: tuple[Kind, Config], kind: Kind, config: Config) -> Config:
    """Compares config.json with the tensors; it may only add what these do not show."""
    said_kind, said = described
    if said_kind != kind:
        raise CheckpointError(
            file, "does not describe the weights next to it", expected=_KIND_NAMES[said_kind],
            found=describe(config),
        )
    for field in dataclasses.fields(config):
        a, b = getattr(said, field.name), getattr(config, field.name)
        if field.name not in _UNSEEN and a != b:
            raise CheckpointError(
                file, "does not agree with the weights next to it", key=field.name,
                expected=b, found=a,
            )
    return said

"""Weights of a T5 text encoder: every name and shape compared with config.json, or with what the
first ones of a single file say; 8 bits undone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .errors import CheckpointError
from .reader import open_raw
from .sources import TensorSource
from .text_file import file_shape
from .text_shape import EMBEDDING, EMBEDDING_TWIN, TextShape, read_text_shape
from .verify import WEIGHT_DTYPES

_FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)
_SCALES = (".scale_weight", ".weight_scale")
_UNUSED = (".scale_input", ".input_scale")
"""Scales of activations: weights that are not multiplied in 8 bits do not need them."""


@dataclass(frozen=True)
class TextWeights:
    """A text encoder on disk whose every name and shape fits its configuration.

    Attributes:
        path: the folder or file.
        shape: from config.json, or from the file's tensors.
        source: where the tensors are.
        names: the model's names -> the file's.
        scales: the same for the scales of those in 8 bits.
    """

    path: Path
    shape: TextShape
    source: TensorSource
    names: Mapping[str, str]
    scales: Mapping[str, str]

    def stored_dtype(self) -> torch.dtype:
        """That of the embedding; bfloat16 if it is in 8 bits."""
        stored = self.source.dtype(self.names[EMBEDDING])
        return torch.bfloat16 if stored in _FP8 else stored

    def dequantize(self, name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        """``tensor``, which is what the file holds as ``name``, in a dtype, its scale applied."""
        if tensor.dtype not in _FP8:
            return tensor.to(dtype)
        wide = tensor.float()
        if name in self.scales:
            scale = self.source.get(self.scales[name]).float()
            wide = wide * (scale.reshape(-1, 1) if scale.numel() > 1 else scale.reshape(()))
        return wide.to(dtype)


def inspect_text_encoder(folder: Path, variant: str | None = None) -> TextWeights:
    """Opens and checks a text encoder without reading its tensors.

    Raises:
        CheckpointError: names the key and shape of the first tensor that is missing or wrong.
    """
    if folder.is_file():
        source = open_raw(folder, variant)
        shape = file_shape(source)
    elif folder.is_dir():
        shape = read_text_shape(folder)
        source = open_raw(folder, variant)
    else:
        raise CheckpointError(
            folder, "no such file or folder; a text encoder is needed: flan-t5-xl as one "
            "safetensors file, or as a folder in transformers format (nothing is downloaded)"
        )
    said = "it has" if folder.is_file() else "config.json says"
    names, scales, found = {}, {}, _scales(source)
    for name, expected in shape.tensors().items():
        key = name
        if name == EMBEDDING and name not in source.infos and EMBEDDING_TWIN in source.infos:
            key = EMBEDDING_TWIN
        _compare(source, key, expected)
        names[name] = key
        if key.removesuffix(".weight") in found:
            scales[name] = _checked_scale(source, key, found[key.removesuffix(".weight")])
    known = {*names.values(), *scales.values(), EMBEDDING_TWIN}
    for key, info in source.infos.items():
        if key.startswith("encoder.") and key not in known and not key.endswith(_UNUSED):
            raise CheckpointError(
                info.file, "unexpected", key=key, found=info.shape,
                note=f"{said} {shape.num_layers} layers, {shape.feed_forward_proj}",
            )
    return TextWeights(folder, shape, source, names, scales)


def _compare(source: TensorSource, key: str, expected: tuple[int, ...]) -> None:
    if key not in source.infos:
        similar = next((k for k in source.infos if k.endswith(key)), None)
        raise CheckpointError(
            source.path, "a tensor of the text encoder is missing", key=key, expected=expected,
            note=f"the file has '{similar or next(iter(source.infos))}'",
        )
    info = source.infos[key]
    if info.shape != expected:
        raise CheckpointError(info.file, "wrong shape", key=key, expected=expected,
                              found=info.shape)
    if info.dtype not in (*WEIGHT_DTYPES, *_FP8):
        raise CheckpointError(info.file, "wrong dtype", key=key, expected="floating numbers",
                              found=info.dtype)


def _scales(source: TensorSource) -> dict[str, str]:
    """The module's name -> that of its scale."""
    return {key.removesuffix(end): key for key in source.infos for end in _SCALES
            if key.endswith(end)}


def _checked_scale(source: TensorSource, key: str, scale: str) -> str:
    """``scale``, if it is one that a tensor in 8 bits can have: one number, or one a row."""
    info, rows = source.infos[scale], source.shape(key)[0]
    if (source.dtype(key) not in _FP8 or info.dtype not in WEIGHT_DTYPES
            or info.shape not in ((), (1,), (rows,), (rows, 1))):
        raise CheckpointError(info.file, "a scale of a kind that is not known", key=scale,
                              expected=f"one number or {rows} for a tensor in 8 bits",
                              found=info.shape)
    return scale

"""The components of a pipeline folder as diffusers loads them, checked first.

A folder's index names a library and a class for every component, and diffusers imports what it
names; before it asked for trust, it also ran a Python file of that name that lay in the folder.
:func:`checked_components` puts the classes below in their place, whatever the index says.
``from_pretrained`` of each returns a plain model or tokenizer.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import diffusers
from torch import nn
from transformers import T5EncoderModel

from ..files import PIPELINE_INDEX
from ..models.autoencoder import InfinityAutoencoder
from ..models.transformer import InfinityTransformer
from .inspect import inspect_checkpoint
from .recognise import Kind
from .text_load import build_text_encoder, check_vocabulary, load_tokenizer
from .text_shape import read_text_shape
from .text_weights import inspect_text_encoder
from .values import require_finite

Folder = str | PathLike[str]


class CheckedTransformer(InfinityTransformer):
    @classmethod
    def from_pretrained(cls, folder: Folder, **how: Any) -> Any:
        return _checked("transformer", InfinityTransformer, folder, how)


class CheckedAutoencoder(InfinityAutoencoder):
    @classmethod
    def from_pretrained(cls, folder: Folder, **how: Any) -> Any:
        return _checked("vae", InfinityAutoencoder, folder, how)


class CheckedTextEncoder(T5EncoderModel):
    @classmethod
    def from_pretrained(cls, folder: Folder, **how: Any) -> Any:
        folder = _own_folder(folder, "text_encoder")
        weights = inspect_text_encoder(folder, how.get("variant"))
        if how.get("quantization_config") is not None:
            return T5EncoderModel.from_pretrained(str(folder), local_files_only=True, **how)
        model = build_text_encoder(weights, how.get("dtype", how.get("torch_dtype")))
        place = how.get("device_map")
        return model.to(place) if isinstance(place, str) else model  # others: diffusers places it


class CheckedTokenizer:
    @classmethod
    def from_pretrained(cls, folder: Folder, **how: Any) -> Any:
        folder = _own_folder(folder, "tokenizer")
        words, encoder = load_tokenizer(folder), folder.parent / "text_encoder"
        if encoder.is_dir():
            check_vocabulary(words, folder, encoder, read_text_shape(encoder).vocab_size)
        return words


CHECKED: Mapping[str, type] = {
    "transformer": CheckedTransformer, "vae": CheckedAutoencoder,
    "text_encoder": CheckedTextEncoder, "tokenizer": CheckedTokenizer,
}


def checked_components(index: Mapping[str, Any]) -> dict[str, Any]:
    """Entries of a folder's index for diffusers, with the checked class in place of any other;
    what is no component, or absent (null), stays as it is."""
    # diffusers looks for a library among its own pipelines first, and only then for a file.
    setattr(diffusers.pipelines, __name__, sys.modules[__name__])
    return {
        name: (__name__, CHECKED[name].__name__) if name in CHECKED and _is_there(value) else value
        for name, value in index.items()
    }


def _is_there(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and value[0] is not None


def _own_folder(folder: Folder, name: str) -> Path:
    """A component's: diffusers gives the whole pipeline's where there is none."""
    path = Path(folder)
    return path / name if (path / PIPELINE_INDEX).is_file() else path


def _checked(kind: Kind, cls: Any, folder: Folder, how: dict[str, Any]) -> nn.Module:
    """The model that diffusers loads from a folder whose every name and shape fits."""
    inspect_checkpoint(folder, kind=kind, variant=how.get("variant"))
    model = cls.from_pretrained(folder, **how)
    for name, weight in model.named_parameters():
        if weight.device.type == "cpu" and weight.is_floating_point():
            require_finite(Path(folder), name, weight)
    return model

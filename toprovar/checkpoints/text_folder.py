"""Folders of a T5 text encoder and its tokenizer in the transformers format: copied as they are."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import CheckpointError
from .reader import read_json
from .text_shape import refuse_code
from .text_weights import inspect_text_encoder

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "spiece.model", "special_tokens_map.json",
    "added_tokens.json",
)
VOCABULARIES = ("tokenizer.json", "spiece.model")
"""Either is needed; the other files have defaults."""

_DEFAULT_CLASS = "T5TokenizerFast"
_ENCODER_CLASS = "T5EncoderModel"
_TOKENIZER_CLASSES = {
    "T5TokenizerFast": "T5TokenizerFast",
    "T5Tokenizer": "T5Tokenizer",
    "PreTrainedTokenizerFast": "PreTrainedTokenizerFast",
    "TokenizersBackend": "PreTrainedTokenizerFast",  # its name since transformers 5
}
_SHARD = re.compile(r".+-[0-9]{5}-of-[0-9]{5}\.(?:safetensors|bin)")


@dataclass(frozen=True)
class TextFolder:
    """A text encoder, a tokenizer or both.

    Attributes:
        path: the folder.
        channels: width of the encoder's features; None if it holds a tokenizer only.
        weights: the encoder's files, config.json included.
        tokenizer: the tokenizer's files.
        tokenizer_class: its class in transformers.
    """

    path: Path
    channels: int | None
    weights: tuple[Path, ...]
    tokenizer: tuple[Path, ...]
    tokenizer_class: str

    @property
    def nbytes(self) -> int:
        return sum(f.stat().st_size for f in (*self.weights, *self.tokenizer))

    @property
    def encoder_class(self) -> str:
        return _ENCODER_CLASS


def find_text_folder(path: Path) -> TextFolder | None:
    """The T5 encoder and tokenizer in a folder; None if it is no such folder.

    Raises:
        CheckpointError: it is one, but its weights are missing, damaged or incomplete.
    """
    if not path.is_dir():
        return None
    tokenizer = tuple(f for name in TOKENIZER_FILES if (f := path / name).is_file())
    if not any(f.name in VOCABULARIES for f in tokenizer):
        tokenizer = ()
    config = path / "config.json"
    content = read_json(config) if config.is_file() else {}
    channels, weights = None, ()
    if content.get("model_type") == "t5":
        encoder = inspect_text_encoder(path)
        channels = encoder.shape.d_model
        files = {info.file for info in encoder.source.infos.values()}
        indexes = [path / f"{f.name.split('-')[0]}{f.suffix}.index.json" for f in files
                   if _SHARD.fullmatch(f.name)]
        weights = (config, *sorted(files), *sorted({i for i in indexes if i.is_file()}))
    elif content or not tokenizer:
        return None
    name = check_tokenizer(path) if tokenizer else _DEFAULT_CLASS
    return TextFolder(path, channels, weights, tokenizer, name)


def check_tokenizer(folder: Path) -> str:
    """The class of the tokenizer in a folder, by a name that all versions of transformers know.

    Raises:
        CheckpointError: a file is missing or damaged, or names code to be run.
    """
    if not any((folder / name).is_file() for name in VOCABULARIES):
        raise CheckpointError(
            folder, "no tokenizer: its vocabulary is missing", expected=" or ".join(VOCABULARIES),
            note="copy the tokenizer's files of the model that the text encoder is from",
        )
    for name in ("tokenizer_config.json", "config.json"):
        if (folder / name).is_file():
            refuse_code(folder / name, read_json(folder / name))
    file = folder / "tokenizer_config.json"
    said = read_json(file).get("tokenizer_class") if file.is_file() else None
    return _TOKENIZER_CLASSES.get(str(said), _DEFAULT_CLASS)


def copy_files(files: tuple[Path, ...], folder: Path, on_bytes: Callable[[int], None]) -> None:
    """Copies the files themselves, also where ``files`` are links to them."""
    folder.mkdir(parents=True)
    for file in files:
        shutil.copyfile(file, folder / file.name)
        on_bytes(file.stat().st_size)

"""Folders of a T5 text encoder and its tokenizer in the transformers format: copied as they are. An
encoder in one file becomes such a folder."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import CheckpointError
from .reader import open_raw, read_json
from .text_file import box_tokenizer, file_config, is_text_file
from .text_shape import TextShape, refuse_code
from .text_weights import inspect_text_encoder
from .writer import write_json

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
_WEIGHTS = "model.safetensors"
_SHARD = re.compile(r".+-[0-9]{5}-of-[0-9]{5}\.(?:safetensors|bin)")


@dataclass(frozen=True)
class TextFolder:
    """A text encoder, a tokenizer or both.

    Attributes:
        path: the folder or file.
        channels: width of the encoder's features; None if it holds a tokenizer only.
        weights: the encoder's files, config.json included.
        tokenizer: the tokenizer's files.
        tokenizer_class: its class in transformers.
        shape: what config.json is to say, where the source is one file and has none.
    """

    path: Path
    channels: int | None
    weights: tuple[Path, ...]
    tokenizer: tuple[Path, ...]
    tokenizer_class: str
    shape: TextShape | None = None

    @property
    def nbytes(self) -> int:
        return sum(f.stat().st_size for f in (*self.weights, *self.tokenizer))

    @property
    def encoder_class(self) -> str:
        return _ENCODER_CLASS


def find_text_folder(path: Path) -> TextFolder | None:
    """The T5 encoder and tokenizer in a folder, or the encoder in a file with the box's tokenizer;
    None if it is neither.

    Raises:
        CheckpointError: it is one, but its weights are missing, damaged or incomplete.
    """
    if path.is_file():
        return _find_text_file(path)
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


def _find_text_file(path: Path) -> TextFolder | None:
    if path.suffix.lower() != ".safetensors" or not is_text_file(open_raw(path)):
        return None
    shape, words = inspect_text_encoder(path).shape, box_tokenizer()
    tokenizer = tuple(f for name in TOKENIZER_FILES if (f := words / name).is_file())
    return TextFolder(path, shape.d_model, (path,), tokenizer, check_tokenizer(words),
                      shape)


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


def copy_encoder(text: TextFolder, folder: Path, on_bytes: Callable[[int], None]) -> None:
    """Copies the encoder's files, or its one file under the name that such a folder has for it."""
    if text.shape is None:
        copy_files(text.weights, folder, on_bytes)
        return
    folder.mkdir(parents=True)
    write_json(folder / "config.json", file_config(text.shape))
    shutil.copyfile(text.path, folder / _WEIGHTS)
    on_bytes(text.path.stat().st_size)


def copy_files(files: tuple[Path, ...], folder: Path, on_bytes: Callable[[int], None]) -> None:
    """Copies the files themselves, also where ``files`` are links to them."""
    folder.mkdir(parents=True)
    for file in files:
        shutil.copyfile(file, folder / file.name)
        on_bytes(file.stat().st_size)

"""Opens a checkpoint of any layout. What a file is shows in its first bytes, not in its name."""

from __future__ import annotations

import json
import logging
import re
from os import PathLike
from pathlib import Path
from typing import Any

from .errors import CheckpointError, NoAveragedWeightsError, one_line
from .nesting import EMA, find_model
from .sources import RenamedSource, SafetensorsSource, ShardedSource, TensorSource
from .torch_source import TorchSource

log = logging.getLogger(__name__)

WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
_INDEX = re.compile(r"(.+)\.index(?:\.[^.]+)?\.json")
_SAVED = re.compile(
    r"(?:diffusion_pytorch_model|pytorch_model|model)(?:\.([^.]+?))?(?:-[0-9]{5}-of-[0-9]{5})?"
    r"\.(?:safetensors|bin)(?:\.index(?:\.([^.]+))?\.json)?")
"""Names that diffusers and transformers give; groups 1, 2: variant of weights, of their index."""
_OTHER_FRAMEWORKS = (".h5", ".msgpack")  # TensorFlow's and Flax's weights lie beside ours
_MAX_JSON_BYTES = 64 << 20
_NOT_CHECKPOINTS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself: fetch it with Git LFS"),
    (b"<", "a web page or XML, not a checkpoint: the download went wrong"),
    (b"GGUF", "a GGUF file: only safetensors and PyTorch files can be read"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
)


def open_checkpoint(path: str | PathLike[str], *, ema: bool = False, variant: str | None = None
                    ) -> TensorSource:
    """Opens a file, an index file, or a folder with weights, without reading tensors.

    Args:
        ema: open the averaged weights (an ``ema`` entry) in place of the plain ones.
        variant: of a folder, open the weights that diffusers or transformers saved under this
            name, such as "fp16"; None = the plain ones, or the only ones that there are.

    Raises:
        CheckpointError: it cannot be read, safely or at all.
    """
    source = open_raw(path, variant)
    try:
        model, others = find_model(source.infos, ema)
    except KeyError:
        if ema:
            raise NoAveragedWeightsError(
                path, "has no averaged weights", expected=" or ".join(EMA)
            ) from None
        raise CheckpointError(
            path, "holds averaged weights only; they are opened on request (ema)"
        ) from None
    except ValueError as error:
        raise CheckpointError(path, "occurs twice under different wrappers",
                              key=str(error)) from None
    if others:
        log.info("%s: %d tensors outside the model are ignored, e.g. %s", path, len(others),
                 one_line(others[0]))
    return RenamedSource(source, model)


def open_raw(path: str | PathLike[str], variant: str | None = None) -> TensorSource:
    """The same with every name as it is in the file: nothing is taken off."""
    path = Path(path)
    if variant is not None and not isinstance(variant, str):
        raise TypeError(f"variant must be a name such as 'fp16', got {variant!r}")
    if variant is not None and not path.is_dir():
        raise CheckpointError(path, f"not a folder, so it has no variant {variant!r}: leave the "
                              "variant out for a file")
    try:
        if path.is_dir():
            source = _open_folder(path, variant)
        else:
            source = _open_index(path) if _INDEX.fullmatch(path.name) else _open_file(path)
    except OSError as error:
        raise CheckpointError(path, f"cannot be read: {error.strerror or error}") from None
    if not source.infos:
        raise CheckpointError(path, "holds no tensors")
    return source


def _open_file(path: Path) -> TensorSource:
    if not path.exists():
        raise CheckpointError(path, "no such file or folder")
    if not path.is_file():
        raise CheckpointError(path, "not a regular file")
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        raise CheckpointError(path, "the file is empty")
    for magic, what in _NOT_CHECKPOINTS:
        if start.lstrip().startswith(magic) and start[8:9] != b"{":
            raise CheckpointError(path, what)
    if start.startswith(b"PK\x03\x04"):
        return TorchSource(path, is_zip=True)
    if start[8:9] == b"{":
        return SafetensorsSource(path)
    if start[0] == 0x80 and start[1:2] <= b"\x05":  # a pickle and its protocol
        return TorchSource(path, is_zip=False)
    raise CheckpointError(path, "not a checkpoint: neither safetensors nor a PyTorch file",
                          found=f"first bytes {start[:8].hex(' ')}")


def _open_folder(folder: Path, variant: str | None) -> TensorSource:
    """A folder with an index and its shards, or with one weights file."""
    inside = sorted(f for f in folder.iterdir() if f.is_file() and (
        f.suffix.lower() in WEIGHT_SUFFIXES or _is_index(f.name)))
    of_variant = [f for f in inside if _variant_of(f.name) == variant]
    if variant is not None and not of_variant:
        raise CheckpointError(folder, f"no weights of the variant {variant!r}",
                              expected=f"names like diffusion_pytorch_model.{variant}.safetensors "
                              f"or model.{variant}.safetensors", found=_some(inside))
    inside = of_variant or inside
    indexes = [f for f in inside if _is_index(f.name)]
    if len(indexes) > 1:  # the same weights in two formats: take the safe one
        indexes = [i for i in indexes if "safetensors" in i.name] or indexes
    if len(indexes) > 1:
        raise CheckpointError(folder, f"several indexes ({_some(indexes)}): name the one to open")
    if indexes:
        return _open_index(indexes[0])
    files = inside
    if len(files) > 1:
        files = [f for f in files if f.suffix.lower() == ".safetensors"] or files
    if not files:
        raise CheckpointError(folder, "a folder without weights", expected="*.index.json, "
                              "*.safetensors, *.pth, *.pt or *.bin", found=_some(folder.iterdir()))
    if len(files) > 1:
        raise CheckpointError(
            folder, f"several weight files and no index ({_some(files)}): name the one to open"
        )
    return _open_file(files[0])


def _is_index(name: str) -> bool:
    found = _INDEX.fullmatch(name)
    return found is not None and Path(found[1]).suffix not in _OTHER_FRAMEWORKS


def _variant_of(name: str) -> str | None:
    """The variant of weights, or of their index, in the name of a file; None = it names none."""
    found = _SAVED.fullmatch(name)
    return found and (found[1] or found[2])


def _some(paths: Any) -> str:
    names = sorted(p.name for p in paths)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") \
        if names else "nothing"


def _open_index(index: Path) -> TensorSource:
    content = read_json(index)
    weight_map = content.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(index, "not an index of shards", expected="a 'weight_map' of names")
    shards: dict[str, TensorSource] = {}
    for key, name in weight_map.items():
        if not _is_plain_name(name):
            raise CheckpointError(
                index, "the shard's name leads out of the folder or is no file name", key=key,
                expected="the name of a file next to the index", found=repr(name),
            )
        if name not in shards:
            if not (index.parent / name).is_file():
                raise CheckpointError(index, f"shard {name} is missing from the folder", key=key)
            shards[name] = _open_file(index.parent / name)
        if key not in shards[name].infos:
            raise CheckpointError(
                index.parent / name, "the index says it is in this shard, but it is not", key=key
            )
    return ShardedSource(index.parent, shards, weight_map)


def _is_plain_name(name: object) -> bool:
    return (
        isinstance(name, str)
        and name not in ("", ".", "..")
        and not any(c in name for c in "/\\:\0")
    )


def read_json(path: Path) -> dict[str, Any]:
    """The dictionary in a JSON file; CheckpointError if there is none."""
    try:
        if path.stat().st_size > _MAX_JSON_BYTES:
            raise CheckpointError(path, "too large for a JSON description")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(path, f"cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:  # numbers of 5000 digits are ValueErrors
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(path, f"not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise CheckpointError(path, "not a JSON dictionary", found=type(content).__name__)
    return content

"""Tensors of one file or of several shards, described without reading them and read one by one."""

from __future__ import annotations

import contextlib
import logging
import math
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import CheckpointError, one_line

log = logging.getLogger(__name__)

SAFETENSORS_DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
_MAX_NESTING = 8


@dataclass(frozen=True)
class TensorInfo:
    """Shape, dtype and file of a tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    file: Path

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class TensorSource(ABC):
    """Named tensors on disk.

    ``get`` maps the file into memory where it can: the tensor is a view of the file and costs
    nothing until it is read. ``release`` gives back the pages read so far, once no tensor from
    ``get`` is in use any more; reading may go on afterwards.

    Attributes:
        path: what was opened, for messages.
        infos: every tensor, in file order.
    """

    path: Path
    infos: Mapping[str, TensorInfo]

    def keys(self) -> list[str]:
        return list(self.infos)

    def shape(self, key: str) -> tuple[int, ...]:
        return self.infos[key].shape

    def dtype(self, key: str) -> torch.dtype:
        return self.infos[key].dtype

    @abstractmethod
    def get(self, key: str) -> Tensor:
        """The tensor, on the CPU; not to be written to."""

    @abstractmethod
    def release(self) -> None:
        """Drops the mapping of the file."""

    def drop(self, key: str) -> None:  # noqa: B027  # mapped files have nothing to drop
        """Says that a tensor is not needed any more; it cannot be read again."""


class SafetensorsSource(TensorSource):
    """One safetensors file, mapped into memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = None
        file = self._open()
        self.infos = {}
        for key in file.keys():  # noqa: SIM118  # not a dict
            part = file.get_slice(key)
            dtype = SAFETENSORS_DTYPES.get(str(part.get_dtype()))
            if dtype is None:
                raise CheckpointError(
                    path, f"dtype {part.get_dtype()} is not supported", key=key
                )
            self.infos[key] = TensorInfo(tuple(part.get_shape()), dtype, path)

    def _open(self) -> Any:
        if self._file is None:
            from safetensors import safe_open

            try:
                self._file = safe_open(str(self.path), framework="pt", device="cpu")
            except Exception as error:  # the library's own class, OSError, memory
                raise CheckpointError(
                    self.path, f"truncated or damaged safetensors file: {one_line(str(error))}"
                ) from None
        return self._file

    def get(self, key: str) -> Tensor:
        return self._open().get_tensor(key)

    def release(self) -> None:
        self._file = None


class TorchSource(TensorSource):
    """One file of ``torch.save``, read without running code; mapped into memory unless it is in
    the format that predates zip (or compressed), which has to be read whole.

    Nested dictionaries become dotted names; leaves that are no tensors are left out.
    """

    def __init__(self, path: Path, is_zip: bool) -> None:
        self.path = path
        self._mapped = is_zip and _is_stored_zip(path)
        if not self._mapped:
            log.info("%s: an old or compressed format that must be read whole into memory", path)
        self._tensors: dict[str, Tensor] | None = None
        self.infos = {
            key: TensorInfo(tuple(t.shape), t.dtype, path) for key, t in self._open().items()
        }

    def _open(self) -> dict[str, Tensor]:
        if self._tensors is None:
            try:
                content = torch.load(
                    str(self.path), map_location="cpu", weights_only=True, mmap=self._mapped
                )
            except Exception as error:
                raise CheckpointError(self.path, _load_problem(str(error))) from None
            if not isinstance(content, Mapping):
                raise CheckpointError(
                    self.path, "not a checkpoint", expected="a dictionary of tensors",
                    found=type(content).__name__,
                )
            self._tensors = {}
            for key, tensor in _tensors_of(content, "", 0, set()):
                if key in self._tensors:
                    raise CheckpointError(self.path, "occurs twice", key=key)
                _require_plain(self.path, key, tensor)
                self._tensors[key] = tensor.detach()
        return self._tensors

    def get(self, key: str) -> Tensor:
        return self._open()[key]

    def release(self) -> None:
        if self._mapped:
            self._tensors = None

    def drop(self, key: str) -> None:
        if not self._mapped:
            self._open().pop(key, None)


def _is_stored_zip(path: Path) -> bool:
    """Whether all entries lie uncompressed inside the file; raises if it is cut off."""
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointError(
            path, f"truncated or damaged: the zip directory cannot be read ({error})"
        ) from None
    if not any(e.filename.endswith("data.pkl") for e in entries):
        raise CheckpointError(path, "a zip archive, but not a PyTorch checkpoint (no data.pkl)")
    if any(e.header_offset + e.compress_size > size for e in entries):
        raise CheckpointError(path, "truncated or damaged: an entry reaches past the end")
    return all(e.compress_type == zipfile.ZIP_STORED for e in entries)


def _load_problem(message: str) -> str:
    if "Weights only load failed" in message or "Unsupported" in message:
        _, _, reason = message.rpartition("WeightsUnpickler error: ")
        reason = one_line(reason.partition("\n")[0])
        return (
            "refused: it is not a plain dictionary of tensors; it holds Python objects that would "
            f"run code, or is damaged ({reason})"
        )
    return f"truncated, damaged or not a PyTorch checkpoint ({one_line(message)[:200]})"


def _tensors_of(
    content: Mapping[Any, Any], prefix: str, depth: int, seen: set[int]
) -> Iterator[tuple[str, Tensor]]:
    """Every tensor by dotted name. Each dictionary is visited once, so loops end."""
    if depth > _MAX_NESTING or id(content) in seen:
        return
    seen.add(id(content))
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, Mapping):
            yield from _tensors_of(value, name + ".", depth + 1, seen)


def _require_plain(path: Path, key: str, tensor: Tensor) -> None:
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        raise CheckpointError(
            path, "not a plain tensor", key=key, expected="dense values",
            found=f"{tensor.layout}, {tensor.dtype}, on {tensor.device}",
        )
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise CheckpointError(
            path, "the file holds fewer bytes than the shape needs", key=key,
            expected=f"{tensor.numel() * tensor.element_size()} bytes for {list(tensor.shape)}",
            found=f"{tensor.untyped_storage().nbytes()} bytes",
        )


class ShardedSource(TensorSource):
    """Several files joined by an index."""

    def __init__(self, path: Path, shards: Mapping[str, TensorSource],
                 weight_map: Mapping[str, str]) -> None:
        self.path = path
        self._shards, self._weight_map = shards, weight_map
        self.infos = {key: shards[name].infos[key] for key, name in weight_map.items()}

    def get(self, key: str) -> Tensor:
        return self._shards[self._weight_map[key]].get(key)

    def release(self) -> None:
        for shard in self._shards.values():
            shard.release()

    def drop(self, key: str) -> None:
        self._shards[self._weight_map[key]].drop(key)


class RenamedSource(TensorSource):
    """Part of another source under other names (new name -> its name there)."""

    def __init__(self, inner: TensorSource, names: Mapping[str, str]) -> None:
        self.path, self._inner, self._names = inner.path, inner, names
        self.infos = {new: inner.infos[old] for new, old in names.items()}
        for other in inner.infos.keys() - set(names.values()):
            inner.drop(other)

    def get(self, key: str) -> Tensor:
        return self._inner.get(self._names[key])

    def release(self) -> None:
        self._inner.release()

    def drop(self, key: str) -> None:
        self._inner.drop(self._names[key])


@contextlib.contextmanager
def bounded(
    source: TensorSource, limit: int = 64 << 20
) -> Iterator[Callable[[str], Tensor]]:
    """Yields a reader of tensors that are done with before the next is asked for.

    Pages already read are given back every ``limit`` bytes, so that a large file passes through
    a bounded part of memory.
    """
    used = 0

    def read(key: str) -> Tensor:
        nonlocal used
        size = source.infos[key].nbytes
        if used and used + size > limit:
            source.release()
            used = 0
        used += size
        return source.get(key)

    yield read
    source.release()

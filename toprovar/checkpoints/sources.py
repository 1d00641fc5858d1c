"""Tensors of one file or of several shards, described without reading them and read one by one."""

from __future__ import annotations

import contextlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import CheckpointError, one_line

SAFETENSORS_DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool, "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}


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

    def raw_keys(self) -> list[str]:
        """The names as they are in the file, those outside the chosen part included."""
        return self.keys()

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

    def verify(self, key: str) -> None:  # noqa: B027  # most files have no checksums
        """Compares a tensor's data with the file's checksum, if it has one; reads all of it.

        Raises:
            CheckpointError: the data is not what was saved.
        """

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
        try:
            return self._open().get_tensor(key)
        except Exception as error:  # the library's own class: the file was changed meanwhile
            raise CheckpointError(
                self.path, f"cannot be read: {one_line(str(error))}", key=key
            ) from None

    def release(self) -> None:
        self._file = None


class ShardedSource(TensorSource):
    """Several files joined by an index."""

    def __init__(self, path: Path, shards: Mapping[str, TensorSource],
                 weight_map: Mapping[str, str]) -> None:
        self.path = path
        self._shards, self._weight_map = shards, weight_map
        self.infos = {key: shards[name].infos[key] for key, name in weight_map.items()}

    def get(self, key: str) -> Tensor:
        return self._shards[self._weight_map[key]].get(key)

    def verify(self, key: str) -> None:
        self._shards[self._weight_map[key]].verify(key)

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

    def raw_keys(self) -> list[str]:
        return self._inner.raw_keys()

    def get(self, key: str) -> Tensor:
        return self._inner.get(self._names[key])

    def verify(self, key: str) -> None:
        self._inner.verify(self._names[key])

    def release(self) -> None:
        self._inner.release()

    def drop(self, key: str) -> None:
        self._inner.drop(self._names[key])


@contextlib.contextmanager
def bounded(source: TensorSource) -> Iterator[Callable[[str], Tensor]]:
    """Yields a reader of tensors that are done with before the next is asked for.

    Pages already read are given back from time to time, so that a large file passes through a
    small part of memory: 64 MiB, or 5 % of the file, as opening it again also takes time.
    """
    limit = max(64 << 20, sum(info.nbytes for info in source.infos.values()) // 20)
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

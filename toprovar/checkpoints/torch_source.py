"""Files of ``torch.save``: read without running code, mapped into memory, checked for damage."""

from __future__ import annotations

import logging
import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import CheckpointError, one_line
from .sources import TensorInfo, TensorSource

log = logging.getLogger(__name__)

_MAX_NESTING = 8
_REFUSED = re.compile(r"(?:GLOBAL |class |function |instantiate )((?:\w+\.)+\w+)(?![\w.])")


class TorchSource(TensorSource):
    """One file of ``torch.save``, read without running code; mapped into memory unless it is in
    the format that predates zip (or compressed), which has to be read whole.

    Nested dictionaries become dotted names; leaves that are no tensors are left out.
    """

    def __init__(self, path: Path, is_zip: bool) -> None:
        self.path = path
        records = _zip_records(path) if is_zip else None
        self._mapped = records is not None
        if not self._mapped:
            log.info("%s: an old or compressed format that must be read whole into memory", path)
        self._tensors: dict[str, Tensor] | None = None
        self.infos = {
            key: TensorInfo(tuple(t.shape), t.dtype, path) for key, t in self._open().items()
        }
        if records is not None:
            _check_records(path, self._open(), records)

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


def _zip_records(path: Path) -> Counter[int] | None:
    """Sizes of the data entries, if all lie uncompressed inside the file; None if compressed.

    Raises CheckpointError if the file is cut off or no PyTorch file.
    """
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
    if any(e.compress_type != zipfile.ZIP_STORED for e in entries):
        return None
    return Counter(e.file_size for e in entries if "/data/" in e.filename)


def _check_records(path: Path, tensors: Mapping[str, Tensor], records: Counter[int]) -> None:
    """Every storage must have an entry of its size: mapping takes the pickle's word for it."""
    storages: dict[int, tuple[str, int]] = {}
    for key, tensor in tensors.items():
        storage = tensor.untyped_storage()
        if storage.nbytes():
            storages[storage.data_ptr()] = (key, storage.nbytes())
    left = records.copy()
    for key, size in storages.values():
        left[size] -= 1
        if left[size] < 0:
            raise CheckpointError(
                path, "damaged: the file has no data of this size", key=key,
                expected=f"{size} bytes",
            )


def _load_problem(message: str) -> str:
    """What the safe loader's many lines come down to."""
    if match := _REFUSED.search(message):
        return (
            f"refused: it holds Python objects ({one_line(match[1])}) that could run code; only "
            "plain dictionaries of tensors are read"
        )
    reason = message.rpartition("WeightsUnpickler error: ")[2].strip().partition("\n")[0]
    return f"truncated, damaged or not a PyTorch checkpoint ({one_line(reason)[:200]})"


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

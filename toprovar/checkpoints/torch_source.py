"""Files of ``torch.save``: read without running code, mapped into memory, checked for damage."""

from __future__ import annotations

import io
import logging
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import CheckpointError, one_line
from .loading import LOADING
from .pickle_check import MAX_PICKLE_BYTES, BrokenPickleError, PickleError, check_pickle
from .sources import TensorInfo, TensorSource

log = logging.getLogger(__name__)

_MAX_NESTING = 8
_MAX_NAME = 1000
_MOST_COMPRESSED = 20
"""Times smaller than its content a compressed file may be; weights hardly compress at all."""


class TorchSource(TensorSource):
    """One file of ``torch.save``, read without running code; mapped into memory unless it is in
    the format that predates zip (or compressed), which has to be read whole.

    Nested dictionaries become dotted names; leaves that are no tensors are left out.
    """

    def __init__(self, path: Path, is_zip: bool) -> None:
        self.path = path
        self._sums: dict[int, set[int]] = {}  # CRCs by size, of the data entries of a zip archive
        self._verified: set[tuple[int, int]] = set()
        self._mapped = is_zip
        try:
            if is_zip:
                self._check_zip()
            else:
                _check_legacy(path)
        except BrokenPickleError as error:
            raise CheckpointError(path, _load_problem(str(error))) from None
        except PickleError as error:
            raise CheckpointError(path, f"refused: {one_line(str(error))}") from None
        if not self._mapped:
            log.info("%s: an old or compressed format that must be read whole into memory", path)
        self._tensors: dict[str, Tensor] | None = None
        self.infos = {
            key: TensorInfo(tuple(t.shape), t.dtype, path) for key, t in self._open().items()
        }

    def _check_zip(self) -> None:
        """Makes sure that the archive is whole and its pickle asks for nothing but its data."""
        entries = _zip_entries(self.path)
        pickles = [e for e in entries if e.filename.endswith("/data.pkl")]
        if not pickles:
            raise CheckpointError(
                self.path, "a zip archive, but not a PyTorch checkpoint (no data.pkl)"
            )
        if len(pickles) > 1 or any(e.filename.endswith("/constants.pkl") for e in entries):
            raise CheckpointError(self.path, "a program of TorchScript, not a checkpoint")
        if pickles[0].file_size > MAX_PICKLE_BYTES:
            raise PickleError(f"a pickle of {pickles[0].file_size} bytes")
        if any(e.compress_type != zipfile.ZIP_STORED for e in entries):
            self._mapped = False
            if sum(e.file_size for e in entries) > _MOST_COMPRESSED * self.path.stat().st_size:
                raise PickleError("it unpacks to far more than weights ever do")
        start = pickles[0].filename.removesuffix("data.pkl") + "data/"
        sizes = {e.filename.removeprefix(start): e.file_size for e in entries
                 if e.filename.startswith(start)}
        for entry in entries:
            if entry.filename.startswith(start):
                self._sums.setdefault(entry.file_size, set()).add(entry.CRC)

        def check_storage(key: str, nbytes: int) -> None:
            if nbytes and sizes.get(key) != nbytes:  # mapping takes the pickle's word for it
                raise CheckpointError(self.path, "damaged: the file has no data of this size",
                                      key=f"data/{key}", expected=f"{nbytes} bytes",
                                      found=f"{sizes.get(key, 0)} bytes")

        try:  # torch's own reader, so that what is looked at is what will be loaded
            content = torch._C.PyTorchFileReader(str(self.path)).get_record("data.pkl")
        except RuntimeError as error:
            raise CheckpointError(self.path, _load_problem(str(error))) from None
        check_pickle(io.BytesIO(content), check_storage)

    def _open(self) -> dict[str, Tensor]:
        if self._tensors is None:
            try:
                with LOADING, _numpy_scalars_allowed():
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
                _require_whole(self.path, key, tensor)
                self._tensors[key] = tensor.detach()
        return self._tensors

    def get(self, key: str) -> Tensor:
        return self._open()[key]

    def verify(self, key: str) -> None:
        if not self._mapped:
            return  # it was when it was read
        storage = self.get(key).untyped_storage()
        place = (storage.data_ptr(), storage.nbytes())
        if not storage.nbytes() or place in self._verified:
            return
        content = torch.empty(0, dtype=torch.uint8).set_(storage)
        sums = self._sums[storage.nbytes()]
        if 0 not in sums and zlib.crc32(content.numpy().data) not in sums:  # 0: none was written
            raise CheckpointError(
                self.path, "damaged: the data is not what was saved (checksum); download or copy "
                "the file again", key=key,
            )
        self._verified.add(place)

    def release(self) -> None:
        if self._mapped:
            self._tensors = None
            self._verified.clear()

    def drop(self, key: str) -> None:
        if not self._mapped:
            self._open().pop(key, None)


def _zip_entries(path: Path) -> list[zipfile.ZipInfo]:
    """The archive's directory; CheckpointError if it is cut off."""
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointError(
            path, f"truncated or damaged: the zip directory cannot be read ({error})"
        ) from None
    if any(e.header_offset + e.compress_size > size for e in entries):
        raise CheckpointError(path, "truncated or damaged: an entry reaches past the end")
    return entries


def _check_legacy(path: Path) -> None:
    """The same for the older format: four pickles, the names of the data, then the data."""
    if tarfile.is_tarfile(path):  # a still older one, which old versions of torch read unsafely
        raise PickleError("a tar archive")
    sizes: dict[str, int] = {}

    def note_storage(key: str, nbytes: int) -> None:
        if sizes.setdefault(key, nbytes) != nbytes:
            raise PickleError("data of two sizes under one name")

    with path.open("rb") as file:
        for _ in range(5):
            check_pickle(file, note_storage)
        left = path.stat().st_size - file.tell()
    if sum(sizes.values()) > left:
        raise CheckpointError(path, _load_problem("it ends before its data does"))


@contextmanager
def _numpy_scalars_allowed() -> Iterator[None]:
    """Lets the safe loader build numpy's numbers, which official training files hold."""
    before = torch.serialization.get_safe_globals()
    added = [item for item in _numpy_globals() if item not in before]
    torch.serialization.add_safe_globals(added)
    try:
        yield
    finally:
        kept = [item for item in torch.serialization.get_safe_globals() if item not in added]
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(kept)


def _numpy_globals() -> list[Any]:
    scalar: Any = np.dtype("f8").type(0).__reduce__()[0]
    found: list[Any] = [np.dtype, *{type(np.dtype(code)) for code in np.typecodes["All"]}]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):  # numpy 1, numpy 2

        def build(dtype: Any, content: bytes) -> Any:
            return scalar(dtype, content)

        build.__module__, build.__qualname__ = module, "scalar"
        found.append(build)
    return found


def _load_problem(message: str) -> str:
    """What the safe loader's many lines come down to."""
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
        if not isinstance(key, (str, int)) or len(str(key)) > _MAX_NAME:
            continue  # no tensor of a model is called so
        name = f"{prefix}{key}"
        if isinstance(value, Tensor):
            yield name, value
        elif isinstance(value, Mapping):
            yield from _tensors_of(value, name + ".", depth + 1, seen)


def _require_whole(path: Path, key: str, tensor: Tensor) -> None:
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise CheckpointError(
            path, "the file holds fewer bytes than the shape needs", key=key,
            expected=f"{tensor.numel() * tensor.element_size()} bytes for {list(tensor.shape)}",
            found=f"{tensor.untyped_storage().nbytes()} bytes",
        )

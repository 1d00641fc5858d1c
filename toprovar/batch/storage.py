"""Where pictures go: a folder, or any address that fsspec knows (s3://, gs://, ...)."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from ..files import replace_file

FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota of the disk is used up",
        errno.EFBIG: "the file is larger than may be written"}


class NoRoomError(ValueError):
    """A picture could not be written, and no other could."""


def is_address(place: str) -> bool:
    """Whether it is an address for fsspec rather than a path."""
    return "://" in place


class Storage:
    """A place for files, which are whole or absent there. Can be sent to other processes.

    Args:
        place: path of a folder, which is created, or an address.
    """

    def __init__(self, place: str | Path) -> None:
        self.place = str(place)

    @property
    def folder(self) -> Path | None:
        """The folder, None of an address."""
        return None if is_address(self.place) else Path(self.place)

    def put(self, name: str, content: bytes) -> str:
        """Write a file; where it is then.

        Raises:
            NoRoomError: the disk is full, or cannot be written to for another reason.
        """
        try:
            if self.folder is not None:
                self.folder.mkdir(parents=True, exist_ok=True)
                replace_file(self.folder / name, content)
                return name
            system, path = self._system()
            with system.transaction, system.open(f"{path}/{name}", "wb") as file:
                file.write(content)
            return name
        except OSError as error:
            reason = FULL.get(error.errno or 0, error.strerror or str(error))
            raise NoRoomError(f"{self.place}: {name} cannot be written: {reason}. Finished "
                              "pictures are kept: make room and run the same command again to "
                              "continue") from None

    def size(self, name: str) -> int | None:
        """Bytes of a file, None if there is none."""
        try:
            if self.folder is not None:
                return (self.folder / name).stat().st_size
            system, path = self._system()
            return int(system.size(f"{path}/{name}"))
        except OSError:
            return None

    def read(self, name: str) -> bytes:
        if self.folder is not None:
            return (self.folder / name).read_bytes()
        system, path = self._system()
        return system.cat_file(f"{path}/{name}")

    def _system(self) -> tuple[Any, str]:
        import fsspec

        try:
            system, path = fsspec.core.url_to_fs(self.place)
        except (ImportError, ValueError) as error:
            raise ValueError(f"{self.place}: {error}") from None
        if "file" in (system.protocol if isinstance(system.protocol, tuple) else
                      (system.protocol,)):
            system.makedirs(path, exist_ok=True)
        return system, path.rstrip("/")

"""Where pictures go: a folder, or any address that fsspec knows (s3://, gs://, sftp://, ...)."""

from __future__ import annotations

import errno
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..files import replace_file
from ..printable import one_line

FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the quota of the disk is used up",
        errno.EFBIG: "the file is larger than may be written"}
OBJECT_STORES = frozenset((
    "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "ocilake", "oss", "obs", "tos",
    "hf", "memory",
))
"""Protocols of stores whose objects appear whole, when the last byte has arrived. Elsewhere a file
is written under another name and then renamed."""


class NoRoomError(ValueError):
    """A picture could not be written, and no other could."""


def is_address(place: str) -> bool:
    """Whether it is an address for fsspec rather than a path."""
    return "://" in place


class Storage:
    """A place for files, which are whole or absent there. Can be sent to other processes, and used
    from several threads at once.

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
            else:
                self._send(name, content)
        except OSError as error:
            raise self._unwritten(name, error) from None
        except Exception as error:  # of the store's own kind: no credentials, nobody answers
            if self.folder is not None or isinstance(error, NoRoomError):
                raise
            raise self._unwritten(name, error) from None
        return name

    def sizes(self) -> dict[str, int] | None:
        """Bytes of every file that is there, by name; -1 of what is no file. Of an address it is
        one listing, and None where listing is not allowed.

        Raises:
            NoRoomError: the address cannot be reached.
        """
        if self.folder is not None:
            if not self.folder.is_dir():
                return {}
            return {path.name: path.stat().st_size if path.is_file() else -1
                    for path in self.folder.iterdir()}
        system, path = self._system()
        try:
            system.invalidate_cache()
            found = system.find(path, maxdepth=1, detail=True)
        except FileNotFoundError:
            return {}
        except (PermissionError, NotImplementedError):
            return None
        except Exception as error:
            raise NoRoomError(f"{self.place} cannot be reached: {_told(error)}. Nothing was drawn: "
                              "check the address, its credentials and the network") from None
        return {name.rpartition("/")[2]: int(about.get("size") or 0)
                for name, about in found.items()}

    def read(self, name: str) -> bytes:
        if self.folder is not None:
            return (self.folder / name).read_bytes()
        system, path = self._system()
        return system.cat_file(f"{path}/{name}")

    def _send(self, name: str, content: bytes) -> None:
        """Write a file at an address."""
        # Not fsspec's transactions: one that a thread ends takes those of other threads along.
        system, path = self._system()
        if OBJECT_STORES.intersection(_protocols(system)):
            system.pipe_file(f"{path}/{name}", content)
            return
        half, whole = f"{path}/.{name}.{secrets.token_hex(4)}.tmp", f"{path}/{name}"
        system.makedirs(path, exist_ok=True)
        try:
            system.pipe_file(half, content)
            if system.exists(whole):  # drawn before, by a process that was ended
                system.rm_file(whole)
            system.mv(half, whole)
        except BaseException:
            with suppress(Exception):
                system.rm_file(half)
            raise

    def _unwritten(self, name: str, error: Exception) -> NoRoomError:
        reason = FULL.get(getattr(error, "errno", None) or 0)
        advice = "make room" if reason else "see to that"
        return NoRoomError(f"{self.place}: {name} cannot be written: {reason or _told(error)}. "
                           f"Finished pictures are kept: {advice} and run the same command again "
                           "to continue")

    def _system(self) -> tuple[Any, str]:
        import fsspec

        try:
            system, path = fsspec.core.url_to_fs(self.place)
        except (ImportError, ValueError) as error:
            raise ValueError(f"{self.place}: {error}") from None
        return system, path.rstrip("/")


def _protocols(system: Any) -> tuple[str, ...]:
    return system.protocol if isinstance(system.protocol, tuple) else (system.protocol,)


def _told(error: Exception) -> str:
    """What went wrong, in one line."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return one_line(str(said)).rstrip(".")

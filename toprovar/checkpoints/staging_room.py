"""The hidden folder beside a destination in which an output is built, held by one process.

It is called after the destination, so that two conversions to one place meet there. A lock on a
file in it tells whether its owner lives: the system drops the lock of a process that was killed,
and whoever comes next clears what it left.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

LOCK = "toprovar-convert.lock"
_NAME = re.compile(r"\.(.+)\.partial")


class HeldElsewhereError(Exception):
    """Another living process builds an output for this destination."""


@contextlib.contextmanager
def room_of(target: Path) -> Iterator[Path]:
    """Yields an empty folder of this process alone; it is removed at the end.

    The output is built as ``new`` in it, and what it replaces waits as ``old``.

    Raises:
        HeldElsewhereError: somebody else has it.
    """
    room = target.parent / f".{target.name}.partial"
    descriptor = _claim(room)
    try:
        yield room
    finally:
        _clear(room, target, descriptor)


def clear_stale(folder: Path) -> None:
    """Removes what killed conversions left in ``folder``; an output that one of them had put aside
    and not replaced goes back to its place."""
    for room in folder.glob(".*.partial"):
        match = _NAME.fullmatch(room.name)
        if match and (room / LOCK).is_file() and not room.is_symlink():
            with contextlib.suppress(HeldElsewhereError, OSError):
                _clear(room, folder / match[1], _claim(room, sure=True))


def _claim(room: Path, sure: bool = False) -> int:
    """A descriptor that holds the lock of a room; the room is made if there is none.

    Args:
        sure: OSError where the disk has no locks, so that nobody's room is taken for a stale one.
    """
    while True:
        room.mkdir(exist_ok=True)
        try:
            descriptor = os.open(room / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except FileNotFoundError:  # its owner has just removed it
            continue
        try:
            _lock(descriptor, sure)
            # The owner may have removed the file between the two: then this is a lock on nothing.
            if _is_at(descriptor, room / LOCK):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _clear(room: Path, target: Path, descriptor: int) -> None:
    """Empties and removes a room; the lock goes last, so that nobody builds in it meanwhile."""
    try:
        with contextlib.suppress(OSError):
            if (room / "old").exists() and not target.exists():
                os.replace(room / "old", target)
        for name in ("new", "old"):
            left = room / name
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)
        if os.name != "nt":
            (room / LOCK).unlink(missing_ok=True)
    finally:
        os.close(descriptor)
    with contextlib.suppress(OSError):
        if os.name == "nt":  # an open file cannot be removed there
            (room / LOCK).unlink(missing_ok=True)
        room.rmdir()


def _lock(descriptor: int, sure: bool) -> None:
    """Takes the lock or raises HeldElsewhereError."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]  # Windows
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK, errno.EDEADLK):
            raise HeldElsewhereError from None
        if sure:
            raise

"""All or nothing: output is built next to its destination and moved there when it is complete."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from .errors import CheckpointError
from .staging_room import HeldElsewhereError, room_of


def check_destination(
    destination: Path, sources: Collection[Path], overwrite: bool, replaceable: Collection[str]
) -> None:
    """Refuses a destination that must not be written.

    Args:
        sources: neither they nor folders around or inside them are written to.
        overwrite: an existing destination may be replaced.
        replaceable: names of the entries a folder may hold to be replaced; a folder with anything
            else is somebody's, not an earlier output.

    Raises:
        CheckpointError: says why.
    """
    target = destination.resolve()
    for source in sources:
        origin = source.resolve()
        if target == origin or target in origin.parents or origin in target.parents:
            raise CheckpointError(destination, f"source and destination overlap: {source}")
    for parent in target.parents:
        if parent.exists():
            if not parent.is_dir():
                raise CheckpointError(destination, f"cannot be made: {parent} is not a folder")
            break
    if destination.is_symlink():
        raise CheckpointError(destination, "is a link: name the place itself")
    if not destination.exists():
        return
    inside = sorted(p.name for p in destination.iterdir()) if destination.is_dir() else None
    if inside == []:
        return
    if inside is None and not destination.is_file():
        raise CheckpointError(destination, "is no regular file: name a file or folder to make")
    if not overwrite:
        raise CheckpointError(destination, "exists already; it is only replaced on request")
    foreign = [name for name in inside or () if name not in replaceable]
    if foreign:
        raise CheckpointError(
            destination, "is not replaced: it holds what no conversion wrote", found=foreign[0]
        )


@contextlib.contextmanager
def staged(destination: Path, overwrite: bool) -> Iterator[Path]:
    """Yields a path to write a file or folder to; it becomes ``destination`` at the end.

    On any error, an interrupt included, nothing of it is left, and what was at the destination
    before is untouched.

    Args:
        overwrite: what is at the destination at the end is replaced; an empty folder always is.

    Raises:
        CheckpointError: another process is writing there, or something came to be there meanwhile.
    """
    target = destination.resolve()
    made = _make_parents(target.parent)
    try:
        with room_of(target) as room:
            work = room / "new"
            yield work
            _put(work, target, room / "old", overwrite)
    except HeldElsewhereError:
        raise CheckpointError(destination, "another conversion is writing there: wait for it, or "
                              "name another place") from None
    except BaseException:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _put(work: Path, target: Path, aside: Path, overwrite: bool) -> None:
    """Moves a finished output into place."""
    if target.is_dir() and (overwrite or not any(target.iterdir())):
        os.replace(target, aside)
        try:
            os.replace(work, target)
        except BaseException:
            os.replace(aside, target)
            raise
    elif overwrite:
        os.replace(work, target)
    else:
        _claim(work, target)


def _claim(work: Path, target: Path) -> None:
    """Moves to where nothing may be but an empty folder; of several that try, one succeeds."""
    try:
        if os.name != "nt" and not work.is_dir():
            target.open("xb").close()
            os.replace(work, target)
        else:
            os.rename(work, target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise
        raise CheckpointError(target, "was made by another program meanwhile; it is only replaced "
                              "on request") from None


def _make_parents(folder: Path) -> list[Path]:
    """Makes a folder and those above it; returns those that were new, innermost first."""
    missing = [p for p in (folder, *folder.parents) if not p.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def check_space(destination: Path, needed: int) -> None:
    """CheckpointError if the disk cannot take ``needed`` bytes."""
    parent = next(p for p in destination.resolve().parents if p.exists())
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise CheckpointError(
            destination, "not enough space on the disk", expected=f"{needed / 1e9:.2f} GB",
            found=f"{free / 1e9:.2f} GB",
        )

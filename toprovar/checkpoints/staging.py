"""All or nothing: output is built next to its destination and moved there when it is complete."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from .errors import CheckpointError


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
    if not overwrite:
        raise CheckpointError(destination, "exists already; it is only replaced on request")
    foreign = [name for name in inside or () if name not in replaceable]
    if foreign:
        raise CheckpointError(
            destination, "is not replaced: it holds what no conversion wrote", found=foreign[0]
        )


@contextlib.contextmanager
def staged(destination: Path) -> Iterator[Path]:
    """Yields a path to write a file or folder to; it becomes ``destination`` at the end.

    On any error, an interrupt included, nothing of it is left, and what was at the destination
    before is untouched.
    """
    target = destination.resolve()
    made = _make_parents(target.parent)
    mark = secrets.token_hex(4)
    work = target.parent / f".{target.name}.partial-{mark}"
    aside = target.parent / f".{target.name}.old-{mark}"
    try:
        yield work
        if target.is_dir():
            os.replace(target, aside)
            try:
                os.replace(work, target)
            except BaseException:
                os.replace(aside, target)
                raise
            shutil.rmtree(aside, ignore_errors=True)
        else:
            os.replace(work, target)
    except BaseException:
        if work.is_dir():
            shutil.rmtree(work, ignore_errors=True)
        else:
            work.unlink(missing_ok=True)
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


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

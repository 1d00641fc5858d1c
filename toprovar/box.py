"""Whether files that come with the package are as they were shipped: the embedded model, and what
was measured of it or fitted to it, which lies in folders of ``data/``.

``data/hashes.json`` has their SHA-256. Reading the embedded model's 46 MB for it takes 0.05 s, once
in a process. ``python -m toprovar.box`` writes the list anew after one of them was changed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from .checksums import file_sha256
from .files import DATA, replace_file

ROOT = DATA.parent
LIST = DATA / "hashes.json"
KINDS = (".json", ".safetensors")


def damage(place: Path) -> str | None:
    """What is wrong with a file in the box, or with the files of a folder: in words, None if
    nothing is. Files that are not listed, such as one's own, are not looked at."""
    for name in _listed():
        path = ROOT / name
        if place != path and place not in path.parents:
            continue
        try:
            state = path.stat()
            found = _digest(path, state.st_size, state.st_mtime_ns)
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
        if found != _listed()[name]:
            return f"{name} is not as it was shipped (SHA-256 {found[:16]}...)"
    return None


@lru_cache(maxsize=1)
def _listed() -> dict[str, str]:
    return json.loads(LIST.read_text(encoding="utf-8"))


@lru_cache(maxsize=64)
def _digest(path: Path, size: int, changed: int) -> str:
    """Of a file, read again only when it has ``changed``; how a checkout ends lines does not
    matter."""
    if path.suffix == ".json":
        return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()
    return file_sha256(path)


def hashes() -> dict[str, str]:
    """Name from the package's folder on, and SHA-256, of every file that is checked."""
    return {path.relative_to(ROOT).as_posix(): _digest(path, *_state(path)) for path in _files()}


def _state(path: Path) -> tuple[int, int]:
    state = os.stat(path)
    return state.st_size, state.st_mtime_ns


def _files() -> Iterator[Path]:
    for folder in (ROOT / "bundled", *sorted(p for p in DATA.iterdir() if p.is_dir())):
        for path in sorted(folder.rglob("*")):
            if path.suffix in KINDS and path.is_file():
                yield path


if __name__ == "__main__":
    replace_file(LIST, (json.dumps(hashes(), indent=1) + "\n").encode())

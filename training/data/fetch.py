"""Fetch the emoji art and its names through npm, checked by hash.

``python -m training.data.fetch [--cache DIR]`` leaves two folders in the cache:
``fluent-emoji-3d/assets/*.webp`` (renderings of 256 pixels), ``emoji-datasource/emoji.json`` (the
names) and ``fluent-emoji/icons.json`` (the same pictures as vectors, for sprites of any size).
Running it again does nothing when all are there.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

DEFAULT_CACHE = Path(__file__).resolve().parents[1] / ".cache"
_STAMP = ".sha256"


class FetchError(RuntimeError):
    """A package could not be fetched, or is not the one the code was written for."""


@dataclass(frozen=True)
class Package:
    """One pinned npm package and the part of it that is kept.

    Attributes:
        name: npm package name.
        version: exact version.
        sha256: hex digest of the tarball that ``npm pack`` writes.
        folder: name of the folder in the cache.
        keep: regular expression a member's path below ``package/`` must match in full.
        members: how many members match; checked after extraction.
    """

    name: str
    version: str
    sha256: str
    folder: str
    keep: str
    members: int

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ValueError(f"sha256 of {self.name} must be 64 hex digits, got {self.sha256!r}")
        if not re.fullmatch(r"\d+\.\d+\.\d+", self.version):
            raise ValueError(f"version of {self.name} must be exact, got {self.version!r}")
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", self.folder):
            raise ValueError(f"folder {self.folder!r} must be one plain lower-case name")


ART = Package(
    name="@lobehub/fluent-emoji-3d",
    version="1.1.0",
    sha256="c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    folder="fluent-emoji-3d",
    keep=r"assets/[\w-]+\.webp",
    members=3391,
)
NAMES = Package(
    name="emoji-datasource-google",
    version="16.0.0",
    sha256="fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
    folder="emoji-datasource",
    keep=r"emoji\.json|LICENSE",
    members=2,
)
VECTORS = Package(
    name="@iconify-json/fluent-emoji",
    version="1.2.7",
    sha256="8044210dbf11e016d4de85f15d01a243423bd832457e7e2491df1b751c0e272b",
    folder="fluent-emoji",
    keep=r"icons\.json|info\.json",
    members=2,
)
PACKAGES = (ART, NAMES, VECTORS)


def fetch(cache: Path = DEFAULT_CACHE, packages: tuple[Package, ...] = PACKAGES) -> list[Path]:
    """Make sure every package lies extracted in ``cache``; return their folders, in order."""
    return [_fetch_one(package, cache) for package in packages]


def _fetch_one(package: Package, cache: Path) -> Path:
    target = cache / package.folder
    stamp = target / _STAMP
    if stamp.is_file() and stamp.read_text().strip() == package.sha256:
        log.info("%s %s is already there", package.name, package.version)
        return target
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=cache) as scratch:
        tarball = _npm_pack(package, Path(scratch))
        check_hash(tarball, package)
        fresh = Path(scratch) / "extracted"
        extract(tarball, fresh, package)
        (fresh / _STAMP).write_text(package.sha256 + "\n")
        if target.exists():
            shutil.rmtree(target)
        os.replace(fresh, target)
    log.info("%s %s fetched into %s", package.name, package.version, target)
    return target


def _npm_pack(package: Package, into: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise FetchError(
            "npm was not found on PATH; it is needed to fetch the emoji art. Install Node.js "
            "(which brings npm) and run `python -m training.data.fetch` again."
        )
    command = [npm, "pack", f"{package.name}@{package.version}", "--pack-destination", str(into)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    if done.returncode != 0:
        tail = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise FetchError(
            f"npm could not pack {package.name}@{package.version} (exit {done.returncode}); check "
            f"the network and npm's registry setting. npm said:\n{tail}"
        )
    tarballs = list(into.glob("*.tgz"))
    if len(tarballs) != 1:
        raise FetchError(f"npm pack {package.name} left {len(tarballs)} tarballs, expected 1")
    return tarballs[0]


def check_hash(tarball: Path, package: Package) -> None:
    """Raise FetchError unless ``tarball`` has the recorded sha256."""
    digest = hashlib.sha256()
    with tarball.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    found = digest.hexdigest()
    if found != package.sha256:
        raise FetchError(
            f"{package.name}@{package.version}: sha256 is {found}, expected {package.sha256}. "
            "The download is damaged or was replaced; nothing was extracted. Try again, and do "
            "not use this file if it stays different."
        )


def extract(tarball: Path, target: Path, package: Package) -> None:
    """Write the members that ``package.keep`` names below ``target``; anything else is skipped.

    Only regular files whose whole path matches the pattern are written, so a member can neither
    climb out of ``target`` nor plant a link.
    """
    pattern = re.compile(package.keep)
    written = 0
    with tarfile.open(tarball, "r:gz") as archive:
        for member in archive:
            path = member.name.removeprefix("package/")
            if not member.isreg() or ".." in path.split("/") or not pattern.fullmatch(path):
                continue
            source = archive.extractfile(member)
            if source is None:
                continue
            place = target / path
            place.parent.mkdir(parents=True, exist_ok=True)
            with source, place.open("wb") as sink:
                shutil.copyfileobj(source, sink)
            written += 1
    if written != package.members:
        raise FetchError(
            f"{package.name}@{package.version}: {written} files match {package.keep!r}, expected "
            f"{package.members}"
        )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Fetch the emoji art, checked by hash.")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="where to keep it")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        fetch(arguments.cache)
    except FetchError as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Fetching: only what the code was written for gets in, and only where it belongs."""

from __future__ import annotations

import hashlib
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from training.data import fetch as module
from training.data.fetch import FetchError, Package, check_hash, extract, fetch


def _tarball(path: Path, members: dict[str, bytes]) -> Package:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("package/assets/link.webp")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Package("thing", "1.0.0", digest, "thing", r"assets/[\w./-]+\.webp", 1)


class FakeNpm:
    """An npm that packs a prepared tarball, and counts how often it is asked to."""

    def __init__(self, source: Path) -> None:
        self.source, self.calls = source, 0

    def __call__(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        self.calls += 1
        folder = Path(command[command.index("--pack-destination") + 1])
        shutil.copy(self.source, folder / "thing-1.0.0.tgz")
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNpm:
    fake = FakeNpm(tmp_path / "source.tgz")
    monkeypatch.setattr(module.shutil, "which", lambda _: "npm")
    monkeypatch.setattr(module.subprocess, "run", fake)
    return fake


MEMBERS = {
    "package/assets/a.webp": b"art",
    "package/assets/../../../escaped.webp": b"bad",
    "package/readme.txt": b"no",
}


def test_fetch_extracts_once(tmp_path: Path, npm: FakeNpm) -> None:
    package = _tarball(npm.source, MEMBERS)
    (folder,) = fetch(tmp_path / "cache", (package,))
    assert (folder / "assets" / "a.webp").read_bytes() == b"art"
    found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert found == {"assets/a.webp", ".sha256"}
    assert not list(tmp_path.rglob("escaped.webp"))
    fetch(tmp_path / "cache", (package,))
    assert npm.calls == 1


def test_fetch_rejects_a_bad_hash(tmp_path: Path, npm: FakeNpm) -> None:
    package = _tarball(npm.source, MEMBERS)
    wrong = Package("thing", "1.0.0", "0" * 64, "thing", package.keep, 1)
    with pytest.raises(FetchError, match="expected 0000"):
        fetch(tmp_path / "cache", (wrong,))
    assert not (tmp_path / "cache" / "thing").exists()
    with pytest.raises(FetchError, match="sha256"):
        check_hash(tmp_path / "source.tgz", wrong)


def test_fetch_without_npm_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "which", lambda _: None)
    with pytest.raises(FetchError, match="npm was not found"):
        fetch(tmp_path)


def test_missing_members_are_noticed(tmp_path: Path) -> None:
    package = _tarball(tmp_path / "source.tgz", {"package/readme.txt": b"no"})
    with pytest.raises(FetchError, match="0 files match"):
        extract(tmp_path / "source.tgz", tmp_path / "out", package)


def test_package_is_validated() -> None:
    with pytest.raises(ValueError, match="sha256"):
        Package("x", "1.0.0", "abc", "x", ".*", 1)
    with pytest.raises(ValueError, match="version"):
        Package("x", "^1.0.0", "0" * 64, "x", ".*", 1)
    with pytest.raises(ValueError, match="folder"):
        Package("x", "1.0.0", "0" * 64, "../x", ".*", 1)

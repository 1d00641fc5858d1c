"""Pictures at an address of fsspec: whole, all there, and drawn again where they are gone."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from tests.tiny import tiny_pipeline
from toprovar.batch import Batch, ModelSource, Settings
from toprovar.batch.rows import Row
from toprovar.batch.storage import NoRoomError, Storage

ROWS = [Row(1, "a cat"), Row(2, "a dog"), Row(3, "an apple"), Row(4, "a red cat")]


class Slow(LocalFileSystem):
    """A file system whose requests take a while, as those of a network do, and of which all
    threads have one instance, as of those that fsspec runs asynchronously."""

    protocol = "slow"
    async_impl, mirror_sync_methods = True, False

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **more: Any) -> None:
        time.sleep(0.002)
        super().pipe_file(path, value, mode, **more)

    def _open(self, path: str, mode: str = "rb", *more: Any, **others: Any) -> Any:
        time.sleep(0.002)
        return super()._open(path, mode, *more, **others)


class Breaking(LocalFileSystem):
    """A file system that breaks off in the middle of the third file."""

    protocol = "breaking"
    written = 0

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **more: Any) -> None:
        type(self).written += 1
        if type(self).written == 3:
            super().pipe_file(path, value[: len(value) // 2], mode, **more)
            raise ConnectionError("the line went dead")
        super().pipe_file(path, value, mode, **more)


fsspec.register_implementation("slow", Slow, clobber=True)
fsspec.register_implementation("breaking", Breaking, clobber=True)


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return tiny_pipeline()


@pytest.fixture
def place() -> str:
    return f"memory://{uuid.uuid4().hex}/pictures"


def batch(place: str, folder: Path) -> Batch:
    return Batch(ROWS, place, Settings(), ModelSource(device="cpu"), folder)


def names(place: str) -> list[str]:
    system, path = fsspec.core.url_to_fs(place)
    system.invalidate_cache()
    return sorted(Path(found).name for found in system.find(path))


def test_pictures_go_to_any_address(place: str, tmp_path: Path, pipeline: Any) -> None:
    with pytest.raises(ValueError, match="name a local folder for the manifest"):
        Batch(ROWS, place, Settings(), ModelSource(device="cpu"))
    assert batch(place, tmp_path).run(pipeline=pipeline).drawn == 4
    assert names(place) == [f"00000{n}.png" for n in (1, 2, 3, 4)]
    told = [json.loads(text) for text in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    assert len(told) == 4 and not list(tmp_path.glob("*.png"))
    sizes = Storage(place).sizes()
    assert sizes == {line["file"]: line["bytes"] for line in told}


def test_what_is_gone_or_cut_off_there_is_drawn_again(place: str, tmp_path: Path,
                                                      pipeline: Any) -> None:
    batch(place, tmp_path).run(pipeline=pipeline)
    system, path = fsspec.core.url_to_fs(place)
    before = system.cat_file(f"{path}/000003.png")
    system.rm_file(f"{path}/000002.png")
    system.pipe_file(f"{path}/000003.png", before[:-10])
    again = batch(place, tmp_path).run(pipeline=pipeline)
    assert again.new == 2 and again.drawn == 4
    assert system.cat_file(f"{path}/000003.png") == before and len(names(place)) == 4


def test_files_of_others_are_not_replaced(place: str, tmp_path: Path, pipeline: Any) -> None:
    system, path = fsspec.core.url_to_fs(place)
    system.pipe_file(f"{path}/000002.png", b"somebody's")
    with pytest.raises(ValueError, match=r"pictures/000002\.png exists and is not a picture of"):
        batch(place, tmp_path).run(pipeline=pipeline)
    assert names(place) == ["000002.png"]


def test_where_files_cannot_be_listed_the_manifest_is_believed(
    place: str, tmp_path: Path, pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch(place, tmp_path).run(pipeline=pipeline)

    def refused(*arguments: Any, **more: Any) -> Any:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(MemoryFileSystem, "find", refused)
    assert Storage(place).sizes() is None
    assert batch(place, tmp_path).run(pipeline=pipeline).new == 0


def test_an_address_that_does_not_answer_is_told_before_a_picture_is_drawn(
    place: str, tmp_path: Path, pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(*arguments: Any, **more: Any) -> Any:
        raise TimeoutError("Connect timeout on endpoint")

    monkeypatch.setattr(MemoryFileSystem, "find", silent)
    with pytest.raises(NoRoomError, match="cannot be reached: Connect timeout on endpoint"):
        batch(place, tmp_path).run(pipeline=pipeline)
    assert not (tmp_path / "manifest.jsonl").exists()


def test_threads_do_not_lose_each_others_files(tmp_path: Path) -> None:
    storage = Storage(f"slow://{tmp_path}/pictures")
    wrong: list[BaseException] = []

    def write(thread: int) -> None:
        try:
            for number in range(25):
                storage.put(f"{thread}-{number}.png", bytes(1000))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert storage.sizes() == {f"{t}-{n}.png": 1000 for t in range(3) for n in range(25)}


def test_a_file_that_breaks_off_is_not_there(tmp_path: Path) -> None:
    Breaking.written = 0
    storage = Storage(f"breaking://{tmp_path}/pictures")
    storage.put("a.png", b"first")
    storage.put("a.png", b"second")
    with pytest.raises(NoRoomError, match=r"b\.png cannot be written: the line went dead\. Fin"):
        storage.put("b.png", b"never whole")
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["a.png"]
    assert storage.read("a.png") == b"second" and storage.sizes() == {"a.png": 6}


def test_an_unknown_kind_of_address_is_named(tmp_path: Path, pipeline: Any) -> None:
    with pytest.raises(ValueError, match=r"nowhere://x: Protocol not known: nowhere"):
        batch("nowhere://x", tmp_path).run(pipeline=pipeline)


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A server that speaks S3, with a bucket."""
    s3fs = pytest.importorskip("s3fs", reason="needs a client of S3: pip install s3fs")
    server = pytest.importorskip(
        "moto.server", reason="needs a server of S3: pip install 'moto[s3,server]'")
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    settings = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y",
                "AWS_DEFAULT_REGION": "us-east-1", "NO_PROXY": host,
                "AWS_ENDPOINT_URL": f"http://{host}:{port}"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("bucket")
        yield running
        running.stop()
        s3fs.S3FileSystem.clear_instance_cache()


def test_a_batch_in_an_object_store(s3: Any, tmp_path: Path, pipeline: Any) -> None:
    place = "s3://bucket/deep/pictures"
    assert batch(place, tmp_path).run(pipeline=pipeline, threads=3).drawn == 4
    assert names(place) == [f"00000{n}.png" for n in (1, 2, 3, 4)]
    system, path = fsspec.core.url_to_fs(place)
    before = system.cat_file(f"{path}/000002.png")
    system.rm_file(f"{path}/000002.png")
    again = batch(place, tmp_path).run(pipeline=pipeline)
    assert again.new == 1 and system.cat_file(f"{path}/000002.png") == before
    assert batch(place, tmp_path).run(pipeline=pipeline).new == 0
    with pytest.raises(NoRoomError, match="bucket does not exist"):
        batch("s3://nobody-made-this", tmp_path / "other").run(pipeline=pipeline)


def test_many_files_from_many_threads_reach_an_object_store(s3: Any) -> None:
    storage = Storage("s3://bucket/many")
    threads = [threading.Thread(target=lambda t=t: [
        storage.put(f"{t}-{n}.png", bytes(20_000)) for n in range(20)]) for t in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert storage.sizes() == {f"{t}-{n}.png": 20_000 for t in range(3) for n in range(20)}

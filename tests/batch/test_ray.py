"""A batch on a Ray cluster on this machine: two workers, one of them killed, and the driver."""

from __future__ import annotations

import io
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.batch.processes import check_whole, finish, lines, start, until, write_rows
from toprovar.batch import Batch, ModelSource, Settings, read_rows
from toprovar.batch.on_ray import run

ray: Any = pytest.importorskip("ray", reason="Ray is not installed (pip install 'toprovar[ray]')")
pytest.importorskip("ray.data", reason="Ray Data is not installed")
psutil: Any = pytest.importorskip("psutil")
ROWS = 40


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def local(tmp_path: Path, rows: Path, model: Path) -> Path:
    """The same rows in this process, on one thread as Ray's workers: more may round otherwise."""
    out, threads = tmp_path / "local", torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        Batch(read_rows(rows), out, Settings(), ModelSource(str(model), device="cpu")).run()
    finally:
        torch.set_num_threads(threads)
    return out


def pixels(content: bytes) -> bytes:
    return Image.open(io.BytesIO(content)).tobytes()


@pytest.mark.usefixtures("cluster")
def test_a_dataset_of_ones_own(tmp_path: Path, tiny_model: Path) -> None:
    rows = [{"row": n, "prompt": text, "seed": seed, "mine": n * n} for n, (text, seed) in
            enumerate([("a red cat", 4), ("a dog", None), ("", 1), ("a car", 9)], 1)]
    source = ModelSource(str(tiny_model), device="cpu")
    found = sorted(run(ray.data.from_items(rows, override_num_blocks=2), source=source, workers=2)
                   .take_all(), key=lambda row: row["row"])
    assert [row["picture_status"] for row in found] == ["drawn", "drawn", "failed", "drawn"]
    assert found[2]["picture_reason"] == "the prompt is empty" and found[2]["picture"] == b""
    assert [row["mine"] for row in found] == [1, 4, 9, 16]
    assert [row["picture_seed"] for row in found] == ["4", "1", "", "9"]
    table = tmp_path / "rows.csv"
    table.write_text("prompt,seed\na red cat,4\na dog,\n,1\na car,9\n")
    same = local(tmp_path, table, tiny_model)
    for row in (found[0], found[1], found[3]):
        assert pixels(row["picture"]) == pixels((same / row["picture_file"]).read_bytes())


@pytest.mark.usefixtures("cluster")
def test_rows_without_numbers_are_called_by_what_they_ask_for(tmp_path: Path, tiny_model: Path
                                                              ) -> None:
    place = f"file://{tmp_path}/pictures"
    dataset = ray.data.from_items([{"prompt": "a cat"}, {"prompt": "a dog"}, {"prompt": "a cat"}])
    found = run(dataset, out=place, source=ModelSource(str(tiny_model), device="cpu")).take_all()
    assert "picture" not in found[0] and {row["picture_seed"] for row in found} == {"0"}
    names = {row["picture_file"] for row in found}
    assert len(names) == 2 and {p.name for p in (tmp_path / "pictures").iterdir()} == names


def workers(driver: int) -> list[Any]:
    """The processes of a driver that hold a model."""
    found = []
    for process in psutil.Process(driver).children(recursive=True):
        try:
            if "MapWorker" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_worker_that_is_killed(tmp_path: Path, tiny_model: Path) -> None:
    rows, out = write_rows(tmp_path, ROWS), tmp_path / "o"
    driver = start(rows, out, tiny_model, "--ray", "--workers", "2")
    until(lambda: len(lines(out)) >= 2 and len(workers(driver.pid)) == 2, driver)
    workers(driver.pid)[0].kill()
    found, said, errors = finish(driver)
    assert found == 0 and f"{ROWS} pictures, {ROWS} of them new" in said, errors
    check_whole(out, ROWS)
    same = local(tmp_path, rows, tiny_model)
    for line in lines(out):
        assert pixels((out / line["file"]).read_bytes()) == pixels(
            (same / line["file"]).read_bytes())


def test_a_driver_that_is_killed(tmp_path: Path, tiny_model: Path) -> None:
    rows, out = write_rows(tmp_path, ROWS), tmp_path / "o"
    driver = start(rows, out, tiny_model, "--ray", "--workers", "2")
    until(lambda: len(lines(out)) >= 2, driver)
    driver.send_signal(signal.SIGKILL)
    assert finish(driver)[0] == -9
    kept = len(lines(out))
    assert 2 <= kept < ROWS
    found, said, errors = finish(start(rows, out, tiny_model, "--ray", "--workers", "2"))
    assert found == 0 and f"{ROWS} pictures, {ROWS - kept} of them new" in said, errors
    check_whole(out, ROWS)


def test_a_worker_that_cannot_write_says_so_as_without_ray(tmp_path: Path, tiny_model: Path
                                                           ) -> None:
    rows, out = write_rows(tmp_path, 4), tmp_path / "o"
    (out / "000003.safetensors").mkdir(parents=True)  # in the place of a file
    found, _, errors = finish(start(rows, out, tiny_model, "--ray", "--latents"))
    assert found == 2 and "000003.safetensors cannot be written: Is a directory" in errors
    assert "run the same command again to continue" in errors and "Traceback" not in errors
    check_whole(out)


def test_a_model_that_is_damaged_is_named(tmp_path: Path, tiny_model: Path) -> None:
    import shutil

    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    [weights] = (model / "transformer").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    found, _, errors = finish(start(write_rows(tmp_path, 2), tmp_path / "o", model, "--ray"))
    assert found == 2 and "a worker ended: " in errors and weights.name in errors
    assert "Traceback" not in errors

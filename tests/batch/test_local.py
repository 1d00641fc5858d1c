"""A batch in this process: its pictures are those of ``generate``, and it goes on."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.tiny import tiny_pipeline
from toprovar.batch import Batch, ModelSource, Settings, read_rows
from toprovar.batch.rows import BadRow, Row
from toprovar.cli import main
from toprovar.picture_files import read_parameters

ROWS = ["a red cat", "a blue dog", "two apple and a car on the left", "a cat", "an apple"]


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return tiny_pipeline()


def batch(folder: Path, rows: Sequence[Row | BadRow] | None = None, source: Any = None,
          **settings: Any) -> Batch:
    rows = [Row(n, text) for n, text in enumerate(ROWS, 1)] if rows is None else rows
    retry = settings.pop("retry", False)
    return Batch(rows, folder, Settings(**settings), source or ModelSource(device="cpu"),
                 retry=retry)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (folder / "manifest.jsonl").read_text().splitlines()]


def pixels(path: Path) -> bytes:
    with Image.open(path) as image:
        return image.tobytes()


MIXED = """prompt,negative,seed,size,cfg,plan,name,kind
a red cat,,,,,,,first
a blue dog,a cat,40,256x256,2,,dog,
two apple and a car on the left,,,320x256,,fastvar,,
an apple,,,,1,,,
a cat,a dog,7,,,stop,,
"""


def test_every_picture_is_the_one_that_generate_draws(tmp_path: Path, tiny_model: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.csv").write_text(MIXED)
    model = ["--model", str(tiny_model), "--device", "cpu", "--quiet", "--seed", "3"]
    assert main(["batch", "p.csv", "--out", "o", *model]) == 0
    for row, name in zip(read_rows("p.csv"), ("000001", "dog", "000003", "000004", "000005"),
                         strict=True):
        assert isinstance(row, Row)
        size = [] if row.size is None else ["--size", f"{row.size[0]}x{row.size[1]}"]
        more = [flag for option in ("negative", "cfg", "plan")
                if (value := getattr(row, option)) is not None
                for flag in (f"--{option}", str(value))]
        seed = 3 + row.number - 1 if row.seed is None else row.seed
        assert main(["generate", row.prompt, *model, "--seed", str(seed), *size, *more]) == 0
        assert pixels(Path("out.png")) == pixels(Path(f"o/{name}.png"))
        one, other = read_parameters("out.png"), read_parameters(f"o/{name}.png")
        assert other.pop("row")["number"] == row.number
        assert one == other
    assert lines(Path("o"))[0]["prompt"]


def test_pictures_at_once_are_all_there(tmp_path: Path, pipeline: Any) -> None:
    done = batch(tmp_path, batch=3).run(pipeline=pipeline)
    assert (done.drawn, done.failed, done.new) == (5, 0, 5)
    assert sorted(line["together"] for line in lines(tmp_path)) == [2, 2, 3, 3, 3]
    assert done.files == tuple(f"00000{n}.png" for n in range(1, 6))
    for name in done.files:
        Image.open(tmp_path / name).load()


def test_the_same_again_draws_nothing_and_more_rows_are_added(tmp_path: Path, pipeline: Any
                                                              ) -> None:
    rows = [Row(n, text) for n, text in enumerate(ROWS, 1)]
    assert batch(tmp_path, rows[:3]).run(pipeline=pipeline).new == 3
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("*.png")}
    assert batch(tmp_path, rows[:3]).run(pipeline=None).new == 0  # no model is loaded
    done = batch(tmp_path, rows).run(pipeline=pipeline)
    assert (done.new, done.drawn) == (2, 5)
    assert before.items() <= {p.name: p.stat().st_mtime_ns for p in tmp_path.glob("*.png")}.items()
    assert sorted(line["row"] for line in lines(tmp_path)) == [1, 2, 3, 4, 5]


def test_a_picture_that_is_gone_is_drawn_again(tmp_path: Path, pipeline: Any) -> None:
    batch(tmp_path).run(pipeline=pipeline)
    (tmp_path / "000002.png").unlink()
    (tmp_path / "000004.png").write_bytes(b"\0\0\0")  # as after a power cut
    (tmp_path / ".000004.png.0123abcd.tmp").write_bytes(b"half")
    assert batch(tmp_path).run(pipeline=pipeline).new == 2
    assert len(lines(tmp_path)) == 5 and not list(tmp_path.glob("*.tmp"))


def test_other_rows_or_options_are_refused(tmp_path: Path, pipeline: Any) -> None:
    batch(tmp_path).run(pipeline=pipeline)
    before = (tmp_path / "manifest.jsonl").read_bytes()
    with pytest.raises(ValueError, match="row 1 was already drawn with another text"):
        batch(tmp_path, [Row(1, "something else")]).run(pipeline=pipeline)
    with pytest.raises(ValueError, match=r"with other options: tau null \(now 0\.9\)"):
        batch(tmp_path, tau=0.9).run(pipeline=pipeline)
    assert (tmp_path / "manifest.jsonl").read_bytes() == before


def test_files_of_others_are_not_replaced(tmp_path: Path, pipeline: Any) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "000002.png")
    with pytest.raises(ValueError, match=r"000002\.png exists and is not a picture of this"):
        batch(tmp_path).run(pipeline=pipeline)
    assert len(list(tmp_path.glob("*.png"))) == 1


def test_rows_that_cannot_be_drawn_are_listed_and_the_others_drawn(tmp_path: Path, pipeline: Any
                                                                   ) -> None:
    rows = [Row(1, "a cat"), BadRow(2, "no good", {"prompt": 3}), Row(3, "a dog", plan="nothing"),
            Row(4, "a car")]
    done = batch(tmp_path, rows).run(pipeline=pipeline)
    assert (done.drawn, done.failed) == (2, 2)
    assert [row for row, _ in done.failures] == [2, 3]
    assert done.failures[1][1].startswith("no strategy and no file is called 'nothing'")
    assert batch(tmp_path, rows).run(pipeline=pipeline).new == 0
    rows[1] = Row(2, "an apple")  # put right
    done = batch(tmp_path, rows).run(pipeline=pipeline)
    assert (done.new, done.drawn, done.failed) == (1, 3, 1)
    assert sorted(line["row"] for line in lines(tmp_path)) == [1, 2, 3, 4]


class Breaking(ModelSource):
    """Draws with a pipeline that fails for some rows and for large batches."""

    def __init__(self, pipeline: Any, most: int = 100, bad: Sequence[int] = (),
                 error: type[Exception] = ValueError) -> None:
        super().__init__(device="cpu")
        real = pipeline

        class Pipeline(type(real)):  # type: ignore[misc]  # a base known at run time
            def __call__(self, *args: Any, **how: Any) -> Any:
                calls.append(how["seed"])
                if len(how["seed"]) > most:
                    raise torch.OutOfMemoryError("CUDA out of memory")
                if set(how["seed"]) & set(bad):
                    raise error("that row")
                return real(*args, **how)

        self.calls: list[list[int]] = []
        calls = self.calls
        found = Pipeline.__new__(Pipeline)
        found.__dict__ = real.__dict__
        object.__setattr__(self, "broken", found)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def load(self) -> Any:
        return self.broken  # type: ignore[attr-defined]  # set past the frozen dataclass


def test_batches_are_halved_where_memory_runs_out(tmp_path: Path, pipeline: Any) -> None:
    rows = [Row(n, "a cat") for n in range(1, 10)]
    source = Breaking(pipeline, most=2)
    done = batch(tmp_path, rows, source, batch=8).run()
    assert (done.drawn, done.failed) == (9, 0)
    sizes = [len(seeds) for seeds in source.calls]
    assert sizes == [8, 4, 2, 2, 4, 2, 2, 1]
    assert sorted(line["row"] for line in lines(tmp_path)) == list(range(1, 10))


def test_the_row_that_spoils_a_batch_is_found(tmp_path: Path, pipeline: Any) -> None:
    rows = [Row(n, "a cat") for n in range(1, 9)]
    done = batch(tmp_path, rows, Breaking(pipeline, bad=[5]), batch=4).run()
    assert (done.drawn, done.failures) == (7, ((6, "that row"),))
    assert batch(tmp_path, rows, Breaking(pipeline), batch=4, retry=True).run().new == 1


def test_what_fails_for_all_rows_is_no_rows_fault(tmp_path: Path, pipeline: Any) -> None:
    rows = [Row(n, "a cat") for n in range(1, 31)]
    with pytest.raises(ValueError, match="8 pictures one after the other failed, the last: "
                                         "RuntimeError: that row"):
        batch(tmp_path, rows, Breaking(pipeline, bad=range(30), error=RuntimeError)).run()
    assert len(lines(tmp_path)) == 8
    done = batch(tmp_path, rows, Breaking(pipeline), retry=True).run()
    assert (done.drawn, done.failed) == (30, 0)


class EnoughError(Exception):
    pass


def test_an_interrupt_keeps_what_is_finished(tmp_path: Path, pipeline: Any) -> None:
    """It comes between layers, in the middle of a picture."""
    checks = 0

    def check() -> None:
        nonlocal checks
        checks += 1
        if checks > 60:
            raise EnoughError

    rows = [Row(n, "a cat") for n in range(1, 21)]
    with pytest.raises(EnoughError):
        batch(tmp_path, rows).run(pipeline=pipeline, check=check)
    there = lines(tmp_path)
    assert 0 < len(there) < 20
    for line in there:
        assert (tmp_path / line["file"]).stat().st_size == line["bytes"]
    assert {p.name for p in tmp_path.glob("*.png")} == {line["file"] for line in there}
    assert threading.active_count() < 20
    assert batch(tmp_path, rows).run(pipeline=pipeline).drawn == 20


def test_latents_are_those_of_the_picture(tmp_path: Path, pipeline: Any) -> None:
    rows = [Row(1, "a cat"), Row(2, "a dog", name="dog")]
    batch(tmp_path, rows, latents=True, format="webp", quality=100).run(pipeline=pipeline)
    from toprovar.pipeline_outputs import decode_images

    for name in ("000001", "dog"):
        codes = load_file(tmp_path / f"{name}.safetensors")["summed_codes"]
        [image] = decode_images(pipeline.vae, codes, "pil")
        assert image.tobytes() == pixels(tmp_path / f"{name}.webp")

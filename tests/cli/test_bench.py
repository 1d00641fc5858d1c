"""The command: real runs of small models, the file, and that it tells nobody's name."""

from __future__ import annotations

import getpass
import io
import json
import platform
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from toprovar.bench import measure
from toprovar.bench.result import BenchResult
from toprovar.cli import bench as command
from toprovar.cli import main


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure.Bench.run, "__defaults__", (3,))


def bench(*arguments: object) -> int:
    return main(["bench", "--device", "cpu", *map(str, arguments)])


def texts(value: Any) -> Iterator[str]:
    """All texts in a JSON value, keys included."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)
    elif isinstance(value, str):
        yield value


def test_the_embedded_model_is_measured_and_a_file_is_written(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """256 px without a GPU, whatever the model's own size; shown before it is written."""
    out = tmp_path / "card.json"
    assert bench("--out", out, "--yes") == 0
    shown = capsys.readouterr().out
    text = out.read_text("utf-8")
    assert text in shown and shown.index(text) < shown.index(f"wrote {out}")
    found = BenchResult.load(out)
    assert found.subject.name == found.subject.weights == "embedded"
    assert (found.subject.image_height, found.subject.image_width) == (256, 256)
    assert found.machine.device == "cpu" and found.versions.driver is None
    assert found.conditions.limit_seconds == 120 and found.conditions.seconds < 120
    for runs in (found.dense, found.accelerated):
        for i in range(len(runs.pictures)):
            parts = sum(part[i] for part in (runs.pictures.text, runs.pictures.scales,
                                             runs.pictures.decode))
            assert 0 < parts <= runs.pictures.seconds[i] * 1.01
    assert found.dense.plan == "dense" and found.dense.flop_share == 1
    assert found.ratio is not None and found.ratio.count == len(found.dense.pictures) >= 1
    assert re.search(r"^dense +\S+ m?s", shown, re.MULTILINE)
    assert f"{found.ratio.median:.2f} times as fast" in shown
    assert f"{found.conditions.rounds} rounds of a dense and an accelerated picture" in shown
    assert "random" not in shown.lower()
    assert list(tmp_path.iterdir()) == [out]


def test_the_file_names_nobody(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch,
                               capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "marvins-secret-model"
    folder.symlink_to(tiny_model)
    monkeypatch.setenv("USER", "marvin-the-user")
    monkeypatch.setenv("LOGNAME", "marvin-the-user")
    monkeypatch.setattr(socket, "gethostname", lambda: "marvins-machine")
    monkeypatch.setattr(platform, "node", lambda: "marvins-machine")
    monkeypatch.chdir(tmp_path)
    assert bench("--model", folder, "--out", "marvins.json", "--yes") == 0
    text = (tmp_path / "marvins.json").read_text("utf-8")
    assert "marvin" not in text.lower()
    assert getpass.getuser() == "marvin-the-user"
    content = json.loads(text)
    assert content["subject"]["name"] == "unnamed" and content["subject"]["weights"] == "own"
    for one in texts(content):
        assert "/" not in one and "\\" not in one and "~" not in one, one
        assert str(Path.home()) not in one and sys.prefix not in one
    # nothing but what is listed: a new field needs a look at what it tells
    assert set(content) == {"format", "version", "date", "versions", "machine", "subject", "dense",
                            "accelerated", "ratio", "loop_ratio", "conditions"}
    assert set(content["machine"]) == {"device", "name", "memory_bytes", "capability", "system",
                                       "processor", "cores", "threads"}
    assert set(content["versions"]) == {"toprovar", "torch", "triton", "python", "driver",
                                        "runtime"}
    capsys.readouterr()


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be loaded."""
    def load(*arguments: object) -> None:
        raise AssertionError("a model was loaded before the input was checked")

    monkeypatch.setattr(command, "_load", load)


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(("arguments", "message"), [
    (["--out", "a.txt", "--yes"], "--out must end in .json, got 'a.txt'"),
    (["--out", "nowhere/a.json", "--yes"], "the folder of 'nowhere/a.json' does not exist"),
    (["--out", "a.json"], "here is no terminal to ask at: add --yes"),
    (["--model", "x", "--shape", "2b"], "give either --model or --shape"),
    (["--model", "nowhere"], "'nowhere' is not a pipeline folder"),
    (["--pn", "3M"], "3M"),
    (["--shape", "3b"], "unknown --shape '3b'; expected one of 2b, 8b"),
    (["--shape", "varedit-8b"], "unknown --shape 'varedit-8b'"),
    (["--seconds", "0"], "--seconds must be between 5 and 120, got 0"),
    (["--seconds", "600"], "--seconds must be between 5 and 120, got 600"),
])
def test_bad_input_is_refused_before_anything_is_loaded(
        arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert bench(*arguments) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_model")
def test_a_file_of_another_kind_is_not_replaced(tmp_path: Path,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "notes.json"
    out.write_text('{"mine": true}')
    assert bench("--out", out, "--yes") == 2
    assert "exists and is not a file of 'toprovar bench'" in capsys.readouterr().err
    assert out.read_text() == '{"mine": true}'


class Terminal(io.StringIO):
    """Somebody who answers."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "written"), [("y\n", True), ("n\n", False), ("\n", False),
                                                 ("", False)])
def test_a_terminal_is_asked(answer: str, written: bool, tiny_model: Path, tmp_path: Path,
                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    monkeypatch.setattr(sys, "stdout", screen := Terminal())
    out = tmp_path / "card.json"
    assert bench("--model", tiny_model, "--out", out) == 0
    assert out.is_file() == written
    assert '"format": "toprovar-bench"' in screen.getvalue()
    assert screen.getvalue().index('"format"') < screen.getvalue().index("[y/N]")
    assert ("nothing was written" in screen.getvalue()) != written


def test_too_little_time_is_said_plainly(tiny_model: Path, tmp_path: Path,
                                         monkeypatch: pytest.MonkeyPatch,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    """The limit is over when the model is loaded."""
    import time

    began = time.perf_counter()
    monkeypatch.setattr(command.time, "perf_counter", lambda: began - 119)
    assert bench("--model", tiny_model, "--out", tmp_path / "a.json", "--yes") == 2
    told = capsys.readouterr().err
    assert "not one accelerated picture was finished within the 120 s" in told
    assert list(tmp_path.iterdir()) == []

"""The file, its intervals, and what is known of the machine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from docs_tools.cards import COLLECTED
from toprovar.bench import machine
from toprovar.bench.machine import OtherWork, describe_machine, describe_versions, word
from toprovar.bench.result import BenchResult, Pictures
from toprovar.bench.spread import interval_of, quartiles, relative_spread

FILES = sorted(COLLECTED.glob("*.json"))


def test_intervals_are_those_of_order_statistics() -> None:
    """Of the binomial distribution with one half: 6 values give 1 - 2/64 between the extremes; 9
    give 1 - 2 (1 + 9)/512 between the second and the last but one."""
    six = interval_of([3.0, 1.0, 2.0, 6.0, 5.0, 4.0])
    assert (six.median, six.low, six.high, six.level) == (3.5, 1.0, 6.0, 1 - 2 / 64)
    nine = interval_of([float(n) for n in range(9)])
    assert (nine.low, nine.high, nine.level) == (1.0, 7.0, 1 - 20 / 512)
    two = interval_of([1.0, 2.0])
    assert (two.low, two.high, two.level) == (1.0, 2.0, 0.5)
    assert interval_of([1.0]).level == 0.0


def test_the_level_holds_for_skewed_times() -> None:
    generator = torch.Generator().manual_seed(0)
    draws = torch.rand(2000, 15, generator=generator).log().neg()  # the median is log 2
    found = [interval_of(row.tolist()) for row in draws]
    inside = sum(one.low <= 0.6931 <= one.high for one in found) / len(found)
    assert abs(inside - found[0].level) < 0.02 and found[0].level >= 0.95


def test_spreads() -> None:
    assert quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == (2.0, 4.0)
    assert quartiles([7.0]) == (7.0, 7.0)
    assert relative_spread([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2 / 3)


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_collected_files_are_files_of_the_command(path: Path) -> None:
    found = BenchResult.load(path)
    assert found.to_json() == path.read_text("utf-8")
    assert not re.search(r"[/\\~]", path.read_text("utf-8"))


def spoilt(**changes: Any) -> str:
    content = json.loads(FILES[0].read_text("utf-8"))
    return json.dumps({**content, **changes})


@pytest.mark.parametrize(("content", "message"), [
    ("nothing", "the file"),
    ('{"format": "toprovar-bench"}', "date"),
    (spoilt(version=2), "version"),
    (spoilt(host="marvin"), "host"),
    (spoilt(date="today"), "date"),
])
def test_other_files_are_refused_by_name(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"card.json is no file of 'toprovar bench'.*{message}"):
        BenchResult.load(path)


@pytest.mark.parametrize("text", ["/home/marvin", "C:\\Users\\marvin", "a\nb", "x" * 121])
def test_no_text_of_a_file_holds_a_path(text: str) -> None:
    content = json.loads(FILES[0].read_text("utf-8"))
    content["machine"]["name"] = text
    with pytest.raises(ValidationError):
        BenchResult.model_validate(content)
    assert not re.search(r"[/\\\n]", word(text)) and len(word(text)) <= 120


def test_rows_of_numbers_are_of_one_length() -> None:
    with pytest.raises(ValidationError, match="of one length"):
        Pictures(seconds=(1.0,), text=(), scales=(1.0,), decode=(1.0,))


def test_the_machine_is_described_without_its_owner(monkeypatch: pytest.MonkeyPatch,
                                                    tmp_path: Path) -> None:
    found = describe_machine(torch.device("cpu"))
    assert found.device == "cpu" and found.cores >= 1 and found.name == found.processor
    assert found.system in ("Linux", "Windows", "Darwin")
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: A / B  CPU\n")
    monkeypatch.setattr(machine, "CPU_INFO", info)
    assert describe_machine(torch.device("cpu")).processor == "A B CPU"
    monkeypatch.setattr(machine, "CPU_INFO", tmp_path / "missing")
    assert machine.processor_name()
    versions = describe_versions(torch.device("cpu"))
    assert versions.torch.startswith(torch.__version__.split("+")[0]) and versions.driver is None


@pytest.mark.parametrize(("told", "driver"), [
    ("echo 580.65.06", "580.65.06"), ("echo 'no devices were found'", None), ("exit 9", None),
])
def test_the_driver_is_a_version_or_nothing(told: str, driver: str | None, tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{told}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert machine._driver() == driver


def test_own_work_is_not_that_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds; all programs used 12 CPU seconds, of which 4 were our own."""
    clock, busy, own = [0.0], [100.0], [7.0]
    monkeypatch.setattr(machine, "_busy_seconds", lambda: busy[0])
    monkeypatch.setattr(machine, "_own_seconds", lambda: own[0])
    others = OtherWork(lambda: clock[0])
    clock[0], busy[0], own[0] = 10.0, 112.0, 11.0
    assert others.cores() == pytest.approx(0.8)
    monkeypatch.setattr(machine, "_busy_seconds", lambda: None)
    assert others.cores() is None

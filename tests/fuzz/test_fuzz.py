"""Damaged files and odd arguments work, or end in one clear error; the harness sees all else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.fuzz import cases, mutate
from tests.fuzz.campaign import run_campaign
from tests.fuzz.cases import CLEAN, TRACEBACK, given_of, judged, kind_of
from tests.fuzz.kinds import FILES, prepare
from tests.fuzz.known import is_known
from tests.fuzz.originals import make_originals
from tests.fuzz.rogue import TABLES

CASES, SEED = 500, 1


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Any]]:
    folder = tmp_path_factory.mktemp("originals")
    yield folder, make_originals(folder)


def test_nothing_but_clear_errors_and_acceptance() -> None:
    """One in 40 of what ``python -m tests.fuzz`` runs."""
    report = run_campaign(SEED, range(CASES), workers=2, seconds=20)
    new = [r for r in report.faults if not is_known(r)]
    assert not new, replace(report, results=tuple(new)).told()
    assert {r.kind for r in report.results} == set(cases.ALL)


@pytest.mark.parametrize("name", FILES)
def test_sound_files_are_accepted(name: str, originals: tuple[Path, Any], tmp_path: Path) -> None:
    """Else a damaged one would be refused for another reason than its damage."""
    kind = replace(FILES[name], damage=lambda content, _: content)
    rng = Random(3)  # whose first draw leaves the file where it is
    kind.read(prepare(kind, originals[0], tmp_path, rng), originals[1])


def test_a_case_follows_from_its_number_alone(originals: tuple[Path, Any],
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    """Not from the time of day either, which archives write beside each entry: here every look at
    the clock finds another day."""
    folder, _ = originals
    days, real = count(), time.localtime
    monkeypatch.setattr(time, "localtime", lambda _=None: real(86_400 * (5000 + next(days))))
    told = [given_of(SEED, n, folder) for n in range(300)]
    assert told == [given_of(SEED, n, folder) for n in range(300)]
    assert len(set(told)) > 60 and {kind_of(SEED, n)[0] for n in range(500)} == set(cases.ALL)
    for name, kind in FILES.items():
        content = (folder / kind.path).read_bytes()
        found = [kind.damage(content, Random(f"{name}/{n}")) for n in range(4)]
        assert found == [kind.damage(content, Random(f"{name}/{n}")) for n in range(4)]
        assert any(one != content for one in found)


def test_crashes_and_hangs_end_a_case_and_not_the_campaign(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real ones, in a worker of which every kind of file does what its name says."""
    for name, table in TABLES.items():
        monkeypatch.setattr(cases, name, table)
    every = [kind_of(SEED, n)[0] for n in range(100)]
    numbers = sorted(every.index(kind) for kind in TABLES["ALL"])
    report = run_campaign(SEED, numbers, workers=2, seconds=6, module="tests.fuzz.rogue")
    found = {r.kind: r.outcome for r in report.results}
    assert found == {"crash": "crash", "hang": "hang", "memory": "memory", "unknown": "traceback",
                     "traceback": "traceback", "accepted": "accepted"}
    assert [r.number for r in report.results] == numbers and len(report.faults) == 5
    assert f"--seed {SEED} --case {every.index('crash')}" in report.told()


def test_what_counts_as_a_clear_error(tmp_path: Path) -> None:
    """Raised by the package on purpose, in a line that names the file; nothing that slipped
    through, though it is a ValueError, too."""
    from toprovar.sparsity.plan_file import load_plan

    def outcome(content: str, name: str) -> tuple[str, str]:
        (tmp_path / "a.json").write_text(content)
        try:
            load_plan(tmp_path / "a.json")
        except ValueError as error:
            return judged(error, name)[:2]
        raise AssertionError("accepted")

    assert outcome("[]", "a.json") == (CLEAN, "")
    assert outcome("[]", "b.json")[0] == TRACEBACK
    for slipped in (lambda: int("x"), lambda: mutate.flip_bits(None, Random(1))):  # type: ignore[arg-type]
        try:
            slipped()
        except (ValueError, TypeError) as error:
            assert judged(error, None)[0] == TRACEBACK

"""The table of versions in the docs, and what the combinations are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.versions import OTHER, combinations, compared, requirements, table

ROOT = Path(__file__).resolve().parents[2]
ROWS = json.loads((ROOT / "benchmarks/results/versions.json").read_text(encoding="utf-8"))["rows"]


def test_the_docs_have_the_table_of_the_results() -> None:
    assert table(ROWS) in (ROOT / "docs/research/reliability.md").read_text(encoding="utf-8")


def test_what_is_allowed_was_tried() -> None:
    """Every lowest version by itself, and all of them together; nothing may fail."""
    names = [one.name for one in combinations(["lowest"], ["3.10"])]
    assert set(names) <= {row["name"] for row in ROWS}
    assert all(row["apart"]["greedy"] <= 2 for row in ROWS)
    for row in ROWS:
        if row["name"].startswith("lowest "):
            assert row["wanted"].items() <= requirements().items()
            for package, version in row["wanted"].items():
                assert f"{row['versions'][package]}.0".startswith(f"{version}.")


def test_all_is_installed_anew_for_another_torch_or_python() -> None:
    found = {one.name: one for one in combinations(["lowest", "2.9.1"], ["3.10"])}
    lowest = requirements()
    assert found["lowest of all"].wanted == lowest == found["Python 3.10, lowest of all"].wanted
    assert found["torch 2.9.1"].wanted == {"torch": "2.9.1"} and found["torch 2.9.1"].anew
    assert found["Python 3.10"].wanted == {} and found["Python 3.10"].anew
    assert "torch" not in found["lowest of all but torch"].wanted
    assert not found["lowest numpy"].anew
    assert "lowest of all" not in {one.name for one in combinations(["2.9.1"], ["3.10"])}


@pytest.mark.parametrize("changes, told", [
    ({}, "equal"),
    ({"planned": 2}, "differs by at most 2 of 255"),
    ({"drawn": 90, "planned": 80}, "other random numbers; without any: equal"),
    ({"drawn": 90, "greedy": 1}, "other random numbers; without any: differs by at most 1 of 255"),
    ({"greedy": 3}, OTHER),
])
def test_how_pictures_compare(tmp_path: Path, changes: dict[str, int], told: str) -> None:
    for file, by in (("a", {}), ("b", changes)):
        pictures: Any = {name: np.full((2, 2, 3), 100 + by.get(name, 0), np.uint8)
                         for name in ("drawn", "planned", "greedy")}
        np.savez(tmp_path / file, **pictures)
    words, apart = compared(tmp_path / "b.npz", tmp_path / "a.npz")
    assert words == told
    assert apart == {"drawn": 0, "planned": 0, "greedy": 0} | changes

"""Statistics of the quality benchmark, and its tables from parts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.quality import jobs, main
from benchmarks.quality_report import BEGIN, END, interval, mcnemar, report, score
from toprovar.evaluation.compositional import TASKS


def test_mcnemar_is_the_exact_binomial_of_discordant_pairs() -> None:
    # 1 better, 6 worse: 2 (C(7,0) + C(7,1)) / 2^7
    a, b = [1] + [0] * 6 + [1] * 5, [0] + [1] * 6 + [1] * 5
    assert mcnemar(a, b) == mcnemar(b, a) == pytest.approx(2 * 8 / 128)
    assert mcnemar(a, a) == 1


def test_every_task_weighs_the_same() -> None:
    value, marks = score([1, 1, 1, 0], ["two", "two", "two", "single"])
    assert value == 0.5 and marks == {"single": [0], "two": [1, 1, 1]}


def test_a_paired_interval_is_narrower_than_two() -> None:
    a = {"two": [1, 0] * 50}
    assert interval(a, a) == (0, 0)
    low, high = interval(a)
    assert 0.35 < low < 0.5 < high < 0.65


def test_pictures_have_seeds_of_their_own_and_tasks_take_turns() -> None:
    found = jobs(3, 2)
    assert len(found) == 36 and len({(p.text, s) for p, s in found}) == 36
    assert [p.task for p, _ in found[:6]] == list(TASKS)
    assert {s for _, s in found} == {1000, 1001, 1002, 2000, 2001, 2002}


def test_report_joins_parts_and_marks_the_rows_of_one(tmp_path: Path) -> None:
    tasks = list(TASKS)
    extra = {"flops": 0.2, "token_layers": 0.25, "ssim": [0.5] * 6, "psnr": [20.0] * 6,
             "latent": [0.3] * 6, "sharpness": [0.9] * 6}
    for i in range(2):
        rows = {"dense": {"passed": [1] * 6},
                "toprovar @ 0.2": {"passed": [1] * 6, **extra},
                "fastvar @ 0.2": {"passed": [i] * 6, **extra}}
        if i == 0:
            rows["alone"] = {"passed": [0] * 6, **extra}
        (tmp_path / f"part-0.06M-000{i}.json").write_text(
            json.dumps({"tasks": tasks, "rows": rows}))
    (tmp_path / "images").mkdir()
    (tmp_path / "research").mkdir()
    (tmp_path / "research" / "quality.md").write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    pytest.importorskip("matplotlib")
    report(tmp_path, ("0.06M",), tmp_path)
    rows = json.loads((tmp_path / "results.json").read_text())["sizes"]["0.06M"]
    assert rows["dense"]["pictures"] == 12 and rows["alone"]["pictures"] == 6
    assert rows["fastvar @ 0.2"]["to_dense"] == -0.5
    assert rows["fastvar @ 0.2"]["mcnemar_toprovar"] == pytest.approx(2 / 2**6, abs=1e-4)
    page = (tmp_path / "research" / "quality.md").read_text()
    assert page.startswith("before\n") and page.endswith(f"{END}\nafter\n") and "old" not in page
    assert "| **toprovar @ 0.2** | 20.0% | 25.0% | 100.0% |" in page
    assert (tmp_path / "images" / "quality.png").stat().st_size > 1000
    with pytest.raises(ValueError, match="no results of 1M"):
        report(tmp_path, ("1M",))


@pytest.mark.parametrize(("arguments", "message"), [
    (["--only-report"], "has no results of 0.06M, 0.25M: run the benchmark without --only-report"),
    (["--only-report", "--pn", "0.25M"], "has no results of 0.25M"),
    (["--rows", "nothing", "--pn", "0.06M", "--device", "cpu"],
     "--rows nothing: no row of 0.06M begins so; there is fastvar, official; "),
])
def test_bad_arguments_get_one_line(
        tmp_path: Path, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["quality", "--folder", str(tmp_path / "new"), *arguments])
    assert main() == 2
    error = capsys.readouterr().err.splitlines()
    assert error[-1].startswith("benchmarks.quality: ") and message in error[-1]
    assert not list(tmp_path.glob("new/*"))


def test_a_report_of_some_sizes_says_which_there_are(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
        ) -> None:
    (tmp_path / "part-0.06M-0000.json").write_text("{}")
    monkeypatch.setattr("sys.argv", ["quality", "--folder", str(tmp_path), "--only-report"])
    assert main() == 2
    assert "has no results of 0.25M: name what there is: --pn 0.06M" in capsys.readouterr().err

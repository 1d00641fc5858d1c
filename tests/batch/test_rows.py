"""Rows out of files, and what they become."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toprovar.batch.jobs import Job, Settings, Unread, make_jobs
from toprovar.batch.row_files import read_rows
from toprovar.batch.rows import BadRow, Row, row_of


def read(tmp_path: Path, name: str, text: str) -> list[Row | BadRow]:
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    return read_rows(tmp_path / name)


def test_text_has_a_prompt_a_line(tmp_path: Path) -> None:
    assert read(tmp_path, "p.txt", "# head\n\n a cat \nä dog\n") == [
        Row(1, "a cat"), Row(2, "ä dog")]


TYPED = Row(1, "a cat", "a dog", 7, (512, 256), 2.5, "fastvar", "first", {"kind": "x"})


def test_a_table_and_json_lines_say_the_same(tmp_path: Path) -> None:
    assert read(tmp_path, "p.csv", "Prompt,NEGATIVE,seed,size,cfg,plan,name,kind\n"
                "a cat,a dog,7,512x256,2.5,fastvar,first,x\nb,,,,,,,\n") == [TYPED, Row(2, "b")]
    lines = [{"prompt": "a cat", "negative": "a dog", "seed": 7, "size": [512, 256], "cfg": 2.5,
              "plan": "fastvar", "name": "first", "kind": "x"}, {"prompt": "b", "seed": None}]
    assert read(tmp_path, "p.jsonl", "\n\n".join(map(json.dumps, lines))) == [TYPED, Row(2, "b")]


@pytest.mark.parametrize(("found", "reason"), [
    ({"prompt": " "}, "the prompt is empty"),
    ({"prompt": 3}, "the prompt must be text, got int"),
    ({"prompt": "a", "seed": "1.5"}, "seed must be a whole number, got '1.5'"),
    ({"prompt": "a", "seed": 1 << 64}, "seed must be between"),
    ({"prompt": "a", "size": "big"}, "size must look like 1024x768 (width x height), got 'big'"),
    ({"prompt": "a", "size": "8000x10"}, "aspect"),
    ({"prompt": "a", "cfg": "-1"}, "cfg must be 0 or more"),
    ({"prompt": "a", "cfg": "x"}, "cfg must be a number, got 'x'"),
    ({"prompt": "a", "name": "../x"}, "'../x' is not a valid file name"),
    ({"prompt": "a\ud800"}, "not valid text"),
])
def test_bad_rows_have_their_reason(found: dict[str, Any], reason: str) -> None:
    row = row_of(4, found)
    assert isinstance(row, BadRow) and row.number == 4 and reason in row.reason


def test_gaps_of_data_frames_are_no_values() -> None:
    nan = float("nan")
    assert row_of(1, {"prompt": "a", "seed": nan, "cfg": nan, "negative": None}) == Row(1, "a")
    assert row_of(1, {"prompt": "a", "seed": 3.0}) == Row(1, "a", seed=3)


@pytest.mark.parametrize(("name", "text", "wrong"), [
    ("p.txt", "# nothing\n", "it holds no prompt"),
    ("p.csv", "text\na cat\n", "no column is called 'prompt', they are text"),
    ("p.csv", "prompt,seeds\na,1\n", "the column 'seeds' is unknown: did you mean 'seed'?"),
    ("p.csv", "prompt,kind,kind\na,1,2\n", "the column 'kind' is there twice"),
    ("p.csv", 'prompt\n"a\n', "unexpected end of data"),
    ("p.jsonl", '{"promt": "a"}\n', "the column 'promt' is unknown: did you mean 'prompt'?"),
    ("absent.txt", "", "it holds no prompt"),
])
def test_files_that_cannot_be_read_as_a_whole(tmp_path: Path, name: str, text: str, wrong: str
                                              ) -> None:
    with pytest.raises(ValueError, match="not a usable file of prompts") as error:
        read(tmp_path, name, text)
    assert wrong in str(error.value)


def test_lines_that_are_no_rows_are_rows_that_fail(tmp_path: Path) -> None:
    rows = read(tmp_path, "p.csv", "prompt,seed\na, b,1\nc,2\n")
    assert isinstance(rows[0], BadRow) and "3 cells, the head has 2" in rows[0].reason
    assert rows[1] == Row(2, "c", seed=2)
    rows = read(tmp_path, "p.jsonl", '{"prompt": "a"}\n[1]\n{"prompt\n')
    assert [type(row) for row in rows] == [Row, BadRow, BadRow]
    assert isinstance(rows[1], BadRow) and "line 2: expected a JSON object" in rows[1].reason


def test_seeds_and_names_depend_on_the_row_alone() -> None:
    rows = [Row(1, "a"), BadRow(2, "bad"), Row(3, "c", seed=50, name="c"), Row(4, "d")]
    jobs = make_jobs(rows, Settings(seed=10, num=2))
    assert [(j.name, j.seed) for j in jobs if isinstance(j, Job)] == [
        ("000001-1", 10), ("000001-2", 11), ("c-1", 50), ("c-2", 51), ("000004-1", 16),
        ("000004-2", 17)]
    assert [j.reason for j in jobs if isinstance(j, Unread)] == ["bad"]


def test_two_rows_cannot_have_one_file() -> None:
    jobs = make_jobs([Row(1, "a", name="x"), Row(2, "b", name="X"), Row(3, "c", name="000004"),
                      Row(4, "d")], Settings())
    assert [j.reason for j in jobs if isinstance(j, Unread)] == [
        "its file's name 'X' is also that of row 1",
        "its file's name '000004' is also that of row 3"]


def test_who_a_job_is_does_not_depend_on_the_process_or_on_other_columns(tmp_path: Path) -> None:
    [one, other] = [make_jobs([Row(1, "a", columns={"k": k})], Settings(cfg=2.0))[0]
                    for k in (1, 2)]
    assert one.id == other.id == "9d286a1c92fd6d24"
    plan = tmp_path / "plan.json"
    ids = []
    for text in ("{}", "{ }"):
        plan.write_text(text)
        ids.append(make_jobs([Row(1, "a", plan=str(plan))], Settings())[0].id)
    assert ids[0] != ids[1]

"""Prompts out of a file: one a line, or a table."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from ..arguments import check_prompts, whole
from ..reading import read_text, reading

COLUMNS = ("prompt", "negative", "seed", "name")
MOST_BYTES = 16 << 20
MOST_ROWS = 10_000
FORBIDDEN = set('/\\:*?"<>|\0')


@dataclass(frozen=True)
class Row:
    """One prompt and what goes with it; None = as the options say.

    Attributes:
        name: of its picture's file, without the ending.
    """

    prompt: str
    negative: str | None = None
    seed: int | None = None
    name: str | None = None


def read_rows(path: str | Path) -> list[Row]:
    """The prompts of a file.

    Text: a prompt a line; empty lines and those that begin with # are left out. CSV (by its
    ending): a head with the column prompt, and negative, seed and name where wanted.

    Raises:
        ValueError: naming the file, the line and what is wrong.
    """
    remedy = "give a text file with a prompt a line, or a CSV file with a column 'prompt'"
    with reading(path, "file of prompts", remedy):
        text = read_text(path, MOST_BYTES)
        rows = _table(text) if Path(path).suffix.lower() == ".csv" else [
            Row(check_prompts(f"line {n}", [line.strip()])[0])
            for n, line in enumerate(text.splitlines(), 1)
            if line.strip() and not line.lstrip().startswith("#")]
        if not rows:
            raise ValueError("it holds no prompt")
        if len(rows) > MOST_ROWS:
            raise ValueError(f"it holds {len(rows)} prompts, {MOST_ROWS} at most")
        return rows


def _table(text: str) -> list[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        head = [name.strip().lower() for name in next(reader, [])]
        _check_head(head)
        rows, names = list[Row](), dict[str, int]()
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            row = _row(reader.line_num, head, cells)
            if row.name is not None:
                if row.name.casefold() in names:
                    raise ValueError(f"line {reader.line_num}: the name {row.name!r} is also that "
                                     f"of line {names[row.name.casefold()]}")
                names[row.name.casefold()] = reader.line_num
            rows.append(row)
    except csv.Error as error:
        raise ValueError(f"line {reader.line_num}: {error}") from None
    return rows


def _check_head(head: list[str]) -> None:
    if "prompt" not in head:
        raise ValueError(f"line 1: no column is called 'prompt', they are {', '.join(head)[:200]}")
    for name in head:
        if name not in COLUMNS or head.count(name) > 1:
            raise ValueError(f"line 1: expected the columns {', '.join(COLUMNS)}, each once, got "
                             f"{name[:80]!r}")


def _row(line: int, head: list[str], cells: list[str]) -> Row:
    if len(cells) != len(head):
        raise ValueError(f"line {line}: {len(cells)} cells, the head has {len(head)} columns "
                         "(put texts with commas in double quotes)")
    found = {name: cell.strip() for name, cell in zip(head, cells, strict=True)}
    if not found["prompt"]:
        raise ValueError(f"line {line}: the prompt is empty")
    check_prompts(f"line {line}", [found["prompt"], found.get("negative", "")])
    seed = None
    if text := found.get("seed"):
        try:
            seed = whole(f"line {line}: seed", int(text), -(1 << 63), (1 << 64) - 1)
        except ValueError as error:
            told = str(error) if "line" in str(error) else \
                f"line {line}: seed must be a whole number, got {text[:80]!r}"
            raise ValueError(told) from None
    name = found.get("name") or None
    if name and (FORBIDDEN & set(name) or name.startswith(".") or len(name.encode()) > 200):
        raise ValueError(f"line {line}: {name[:80]!r} is not a valid file name: leave out slashes, "
                         "colons and the like")
    return Row(found["prompt"], found.get("negative") or None, seed, name)

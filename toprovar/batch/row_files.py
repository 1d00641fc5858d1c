"""Rows out of a file: text, CSV or JSON Lines."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from ..reading import parse_json, read_text, reading
from .rows import COLUMNS, BadRow, Row, check_columns, row_of

MOST_BYTES = 1 << 30
MOST_ROWS = 1_000_000
JSON_ENDINGS = (".jsonl", ".ndjson")
REMEDY = ("give a text file with a prompt a line, a CSV file with a column 'prompt', or JSON Lines "
          "with objects that have a \"prompt\"")


def read_rows(path: str | Path) -> list[Row | BadRow]:
    """Read a file of prompts.

    A text file has one prompt a line; empty lines and lines that begin with # are left out. A CSV
    file (``.csv``) has a first line with the names of its columns: "prompt", and optionally
    "negative", "seed", "size", "cfg", "plan" and "name". A JSON Lines file (``.jsonl``,
    ``.ndjson``) has an object with these keys a line.

    Args:
        path: the file; its ending says which kind it is.

    Returns:
        The rows in order. A row that cannot be read is a ``BadRow``.

    Raises:
        ValueError: the file as a whole cannot be read, or it has no row.
    """
    with reading(path, "file of prompts", REMEDY):
        text = read_text(path, MOST_BYTES)
        ending = Path(path).suffix.lower()
        read = _table if ending == ".csv" else _objects if ending in JSON_ENDINGS else _lines
        rows = read(text)
        if not rows:
            raise ValueError("it holds no prompt")
        if len(rows) > MOST_ROWS:
            raise ValueError(f"it holds {len(rows)} prompts, {MOST_ROWS} at most")
        return rows


def _lines(text: str) -> list[Row | BadRow]:
    lines = [line.strip() for line in text.splitlines()]
    used = [line for line in lines if line and not line.startswith("#")]
    return [row_of(n, {"prompt": line}) for n, line in enumerate(used, 1)]


def _table(text: str) -> list[Row | BadRow]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row | BadRow] = []
    try:
        head = [_column(name) for name in next(reader, [])]
        check_columns(head)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            number = len(rows) + 1
            if len(cells) == len(head):
                rows.append(row_of(number, dict(zip(head, map(str.strip, cells), strict=True))))
            else:
                rows.append(BadRow(number, f"line {reader.line_num}: {len(cells)} cells, the head "
                                   f"has {len(head)} columns (put texts with commas in double "
                                   "quotes)", {"cells": cells[:20]}))
    except csv.Error as error:  # what follows cannot be told apart any more
        raise ValueError(f"line {reader.line_num}: {error}") from None
    return rows


def _objects(text: str) -> list[Row | BadRow]:
    rows: list[Row | BadRow] = []
    columns: dict[str, None] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = parse_json(line)
            if not isinstance(found, dict):
                raise ValueError(f"expected a JSON object, got {json.dumps(found)[:80]}")
        except ValueError as error:
            rows.append(BadRow(len(rows) + 1, f"line {number}: {error}", {"line": line[:200]}))
            continue
        found = {_column(name): value for name, value in found.items()}
        columns.update(dict.fromkeys(found))
        rows.append(row_of(len(rows) + 1, found))
    if columns:
        check_columns(list(columns))
    return rows


def _column(name: str) -> str:
    """A column's name; those that are read are found in any spelling of case."""
    plain = name.strip()
    return plain.lower() if plain.lower() in COLUMNS else plain

"""Runs a notebook without Jupyter: its cells of code in order, in one namespace.

    python -m tests.examples.notebook examples/tour.ipynb            prints what each cell shows
    python -m tests.examples.notebook examples/tour.ipynb --write    and keeps it in the notebook

As in Jupyter, a cell shows what it prints and the value of its last line. Pictures are kept as
JPEG, at most ``WIDEST`` pixels wide, so that the file stays small.
"""

from __future__ import annotations

import argparse
import ast
import base64
import contextlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

WIDEST, QUALITY = 480, 75


@dataclass(frozen=True)
class Shown:
    """What a cell has shown.

    Attributes:
        text: printed; value: of its last line, None if that has none.
    """

    text: str
    value: Any


def read_notebook(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8"))


def code_of(notebook: dict[str, Any]) -> list[str]:
    """The cells of code."""
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run_cells(cells: list[str]) -> list[Shown]:
    """Run them; an exception of a cell names its number."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    return [_run(number, source, namespace) for number, source in enumerate(cells, 1)]


def _run(number: int, source: str, namespace: dict[str, Any]) -> Shown:
    name = f"<cell {number}>"
    tree = ast.parse(source, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, name, "exec"), namespace)  # noqa: S102 - our own notebook
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), name, "eval"), namespace)  # noqa: S307
    return Shown(printed.getvalue(), value)


def outputs_of(shown: Shown, number: int) -> list[dict[str, Any]]:
    """As a notebook keeps them."""
    found: list[dict[str, Any]] = []
    if shown.text:
        found.append({"output_type": "stream", "name": "stdout",
                      "text": shown.text.splitlines(keepends=True)})
    if isinstance(shown.value, Image.Image):
        small = shown.value.convert("RGB")
        small.thumbnail((WIDEST, 4 * WIDEST), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=QUALITY, optimize=True)
        data = {"image/jpeg": base64.b64encode(buffer.getvalue()).decode("ascii")}
    elif shown.value is not None:
        data = {"text/plain": repr(shown.value).splitlines(keepends=True)}
    else:
        return found
    return [*found, {"output_type": "execute_result", "execution_count": number, "metadata": {},
                     "data": data}]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--write", action="store_true", help="keep what cells show")
    arguments = parser.parse_args()
    notebook = read_notebook(arguments.notebook)
    shown = run_cells(code_of(notebook))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, (cell, one) in enumerate(zip(cells, shown, strict=True), 1):
        print(f"[{number}] {one.text}{'' if one.value is None else one.value}")
        cell["execution_count"], cell["outputs"] = number, outputs_of(one, number)
    if arguments.write:
        text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        arguments.notebook.write_text(text, "utf-8")


if __name__ == "__main__":
    main()

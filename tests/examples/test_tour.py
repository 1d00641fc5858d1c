"""The notebook: its cells run in order, and what it keeps of them is small and up to date."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.examples.forked import EXAMPLES, ROOT
from tests.examples.notebook import Shown, outputs_of, read_notebook, run_cells

TOUR = EXAMPLES / "tour.ipynb"
MOST_BYTES = 150_000


@pytest.fixture(scope="module")
def notebook() -> dict[str, Any]:
    return read_notebook(TOUR)


def test_the_file_is_a_notebook(notebook: dict[str, Any]) -> None:
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert TOUR.stat().st_size < MOST_BYTES
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"[\w-]{1,64}", one) for one in ids)
    for cell in notebook["cells"]:
        assert cell["cell_type"] in ("markdown", "code") and cell["source"]
        assert ({"outputs", "execution_count"} <= cell.keys()) == (cell["cell_type"] == "code")
    text = TOUR.read_text("utf-8")
    for link in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (EXAMPLES / link).exists(), link


def test_cells_run_in_order(notebook: dict[str, Any], tmp_path: Path) -> None:
    """In a process of their own; what they show is of the kinds that the notebook keeps, and its
    figures are those that it keeps."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.examples.notebook", str(TOUR)], cwd=tmp_path, text=True,
        capture_output=True, env=environment(tmp_path), timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    shown = re.split(r"^\[\d+\] ", done.stdout, flags=re.MULTILINE)[1:]
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(shown) == len(cells)
    for text, cell in zip(shown, cells, strict=True):
        kinds = [kind for one in cell["outputs"] for kind in one.get("data", {"stream": 0})]
        assert ("image/jpeg" in kinds) == ("<PIL.Image.Image" in text)
        kept = "".join(line for one in cell["outputs"] for line in one.get("text", []))
        # On another CPU a bit that was near a tie may fall otherwise.
        assert figures(text.split("<PIL")[0]) == pytest.approx(figures(kept), abs=0.06)
    assert not [path for path in tmp_path.iterdir() if path.name != "cache"], "it writes nothing"


def test_pictures_are_kept_small(notebook: dict[str, Any]) -> None:
    found = [one["data"]["image/jpeg"] for cell in notebook["cells"]
             for one in cell.get("outputs", []) if "image/jpeg" in one.get("data", {})]
    assert len(found) >= 5
    for text in found:
        with Image.open(io.BytesIO(base64.b64decode(text))) as picture:
            assert picture.format == "JPEG" and picture.width <= 480


def test_a_cell_shows_what_it_shows_in_jupyter() -> None:
    first, second, third = run_cells(["a = 2", "print('told')\na + 1", "a += 1\nb = a"])
    assert (first, second, third) == (Shown("", None), Shown("told\n", 3), Shown("", None))
    assert outputs_of(first, 1) == [] and [one["output_type"] for one in outputs_of(second, 2)] == [
        "stream", "execute_result"]
    with pytest.raises(ZeroDivisionError) as error:
        run_cells(["a = 0", "1 / a"])
    assert error.traceback[-1].path == Path("<cell 2>") or "<cell 2>" in str(error.traceback[-1])


def figures(text: str) -> list[float]:
    return [float(one) / (100 if percent else 1)
            for one, percent in re.findall(r"(\d+(?:\.\d+)?)(%?)", text)]


def environment(folder: Path) -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT), "TOPROVAR_CACHE": str(folder / "cache")}

"""The prompts in the box: as many and as varied as calibrating on the first few of them needs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from toprovar import prompts
from toprovar.cli.prompt_rows import read_rows
from toprovar.entropy.calibration import Calibration
from toprovar.prompts import bundled_prompts

ROOT = Path(__file__).resolve().parents[1]
LINES = prompts.GENERAL.read_bytes().decode("ascii").split("\n")[:-1]
QUOTED = re.compile(r'"[^"]+"')
PEOPLE = re.compile(
    r"\b(women|girls?|boys?|brothers|sisters|grandmother|granddaughter|grandfather|aunts|child|"
    r"children|toddler|guests|bride|in her (sixties|thirties)|teenage|herder|seamstress|midwife|"
    r"old man|rowers|bookseller|carpenter|bus driver|firefighters|commuters?|player|ferrymen|"
    r"apprentices|porter|cooks|tuners|astronomer|performer|trio|welder|travellers|dancer|poet|"
    r"beekeeper|drummers|mechanic|dentist|dockers|technicians|cyclist|farmer|model|fisherman|"
    r"brass band|(weaver's|gloved|left) hands?)\b", re.IGNORECASE)
DRAWN = re.compile(
    r"\b(watercolour|painting|gouache|illustration|render|isometric|vector|ink (wash|drawing)|"
    r"woodcut|woodblock|linocut|pencil study|drawing|chalk study|pixel|low-poly|voxel|wireframe|"
    r"exploded view|textbook plate|botanical plate|infographic|diorama|pattern|anime|cartoon|"
    r"comic|clay|claymation|cutaway|paper cut|concept (art|sheet)|poster|"
    r"screen print|colour print|print design|fresco|cubist|abstract|mosaic|tapestry|embroidered|"
    r"cross-stitch|quilt|antique chart|stained-glass window|picture book|paperback|felt|tempera|"
    r"tile panel)\b", re.IGNORECASE)


def words(prompt: str) -> int:
    return len(prompt.split())


def is_short(prompt: str) -> bool:
    return words(prompt) <= 4


def is_medium(prompt: str) -> bool:
    return 8 <= words(prompt) <= 20


def is_long(prompt: str) -> bool:
    return 40 <= words(prompt) <= 90


def is_tags(prompt: str) -> bool:
    """Five or more pieces between commas, of few words each, and no sentence."""
    pieces = prompt.split(", ")
    return len(pieces) >= 5 and "." not in prompt and words(prompt) <= 4.5 * len(pieces)


def is_quoted(prompt: str) -> bool:
    return QUOTED.search(prompt) is not None


def windows(length: int) -> Iterator[list[str]]:
    return (LINES[n:n + length] for n in range(len(LINES) - length + 1))


def test_there_are_240_different_ones() -> None:
    assert len(LINES) == 240
    assert len({" ".join(re.findall(r"\w+", line.lower())) for line in LINES}) == 240


def test_lines_are_plain() -> None:
    for line in LINES:
        assert line and line == line.strip() and "  " not in line and not line.startswith("#")
        assert line.isascii() and line.isprintable() and len(line) < 600, line
        assert line.count('"') % 2 == 0, line
        assert words(line) <= 90, line


@pytest.mark.parametrize(("kind", "least"), [
    (is_short, 40), (is_medium, 100), (is_long, 40), (is_tags, 25), (is_quoted, 24)])
def test_shares_of_each_kind(kind: Callable[[str], bool], least: int) -> None:
    assert sum(map(kind, LINES)) >= least


def test_most_are_of_medium_length() -> None:
    medium = sum(map(is_medium, LINES))
    assert medium > sum(map(is_short, LINES)) + sum(map(is_long, LINES))
    assert sum(is_short(line) or is_medium(line) or is_long(line) for line in LINES) >= 230


@pytest.mark.parametrize(
    "kind", [is_short, is_medium, is_long, PEOPLE.search, DRAWN.search],
    ids=["short", "medium", "long", "people", "no photograph"])
def test_every_eight_in_a_row_are_varied(kind: Callable[[str], object]) -> None:
    for window in windows(8):
        assert any(map(kind, window)), window


def test_writing_is_spread_evenly() -> None:
    """About every tenth line has text in the picture, the longest of it several words."""
    for window in windows(20):
        assert 1 <= sum(map(is_quoted, window)) <= 4, window
    texts = [text for line in LINES for text in QUOTED.findall(line)]
    assert min(map(words, texts)) == 1 and max(map(words, texts)) >= 4


def test_the_first_four_are_of_four_kinds() -> None:
    medium, long, short, tags = LINES[:4]
    assert is_medium(medium) and is_long(long) and is_short(short) and is_tags(tags)


def test_many_styles_are_asked_for() -> None:
    for style in ("photograph", "film still", "oil painting", "watercolour", "ink", "woodcut",
                  "pencil", "pixel art", "low-poly", "3D render", "flat vector", "isometric",
                  "stained-glass", "embroidered", "paper-cut", "claymation", "picture book",
                  "comic", "anime", "mosaic", "poster"):
        assert any(style.lower() in line.lower() for line in LINES), style


def test_the_embedded_model_gets_its_own() -> None:
    own = Calibration.load(prompts.EMBEDDED_CALIBRATION)
    found = bundled_prompts(own.model)
    assert len(found) == own.prompts
    assert found == tuple(row.prompt for row in read_rows(prompts.EMBEDDED))


@pytest.mark.parametrize("model", [None, "", "32x2048-32bit-0123456789abcdef"])
def test_other_models_get_the_general_ones(model: str | None) -> None:
    assert bundled_prompts(model) == tuple(LINES)
    assert bundled_prompts(model) == tuple(row.prompt for row in read_rows(prompts.GENERAL))


def test_a_damaged_calibration_does_not_stop_other_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "broken.json").write_text('{"depth": 10}')
    monkeypatch.setattr(prompts, "EMBEDDED_CALIBRATION", tmp_path / "broken.json")
    prompts._embedded_model.cache_clear()
    try:
        assert bundled_prompts("another") == tuple(LINES)
    finally:
        prompts._embedded_model.cache_clear()
    assert "broken.json: not a usable calibration: 'model' is missing" in caplog.text


def test_a_missing_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "GENERAL", tmp_path / "gone.txt")
    with pytest.raises(ValueError, match=r"gone\.txt: the file of prompts cannot be read"):
        bundled_prompts()


def test_torch_is_not_imported() -> None:
    code = ("import sys; from toprovar.prompts import bundled_prompts; "
            "bundled_prompts(); bundled_prompts('a model'); sys.exit('torch' in sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_files_are_in_the_wheel() -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    [listed] = re.findall(r"^toprovar = \[(.*)\]$", project, re.MULTILINE)
    package = prompts.DATA.parent
    for path in (prompts.GENERAL, prompts.EMBEDDED):
        assert any(path in package.glob(pattern) for pattern in re.findall(r'"(.*?)"', listed))

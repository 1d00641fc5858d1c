"""The examples run, write what they say, and print figures that are so.

Each runs in a process and a folder of its own, at 256 pixels.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.examples.forked import EXAMPLES, ROOT, Finished, run_example
from toprovar import (
    Calibration,
    EntropyTrace,
    InfinityPipeline,
    load_draft,
    load_pipeline,
    load_plan,
    read_parameters,
    ssim,
)

SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("*.py"))
PUBLIC = {"toprovar", "toprovar.batch", "toprovar.sparsity.strategies.base"}
"""Names of a package are public if it lists them in ``__all__``; the last one is what
CONTRIBUTING.md tells authors of strategies to import."""


@pytest.fixture(scope="module")
def pipe() -> InfinityPipeline:
    made = load_pipeline(device="cpu")
    made.set_progress_bar_config(disable=True)
    return made


def run(name: str, folder: Path, *arguments: str) -> str:
    """What an example prints; its files are in ``folder/out``."""
    done = run_example(name, folder, "--out", "out", "--size", "256", *arguments)
    assert done.code == 0, done.errors[-3000:]
    return done.text


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found, f"{pattern!r} is not in {text!r}"
    return float(found[1])


def opened(path: Path, size: tuple[int, int] | None = (256, 256)) -> Image.Image:
    with Image.open(path) as picture:
        picture.load()
    assert size is None or picture.size == size, path
    # A drawn picture is not one colour.
    assert max(high - low for low, high in picture.convert("RGB").getextrema()) > 60, path  # type: ignore[operator]  # pairs, of RGB
    return picture


def same(a: Image.Image, b: Image.Image) -> bool:
    return a.size == b.size and a.convert("RGB").tobytes() == b.convert("RGB").tobytes()


def test_first_picture(tmp_path: Path, pipe: InfinityPipeline) -> None:
    text = run("first_picture", tmp_path)
    pictures = [opened(tmp_path / "out" / f"picture-{n}.png") for n in (1, 2, 3, 4)]
    assert read_parameters(tmp_path / "out" / "picture-3.png")["seed"] == 3
    assert "picture-1.png has the seed 1" in text
    assert len({picture.tobytes() for picture in pictures}) == 4
    assert same(pictures[2], pipe("a cat and a balloon", seed=3, height=256).images[0])
    opened(tmp_path / "out" / "sheet.png", None)
    assert "4 pictures of 256 x 256 pixels" in text
    assert number(r"scales +([\d.]+) s", text) > 0


def test_faster_with_a_plan(tmp_path: Path) -> None:
    text = run("faster_with_a_plan", tmp_path)
    assert 20 <= number(r"work: (\d+)%", text) <= 33
    assert number(r"\(([\d.]+) x\)", text) > 1  # a third of the work, on any machine
    full, fast = (opened(tmp_path / "out" / f"{name}.png") for name in ("full", "fast"))
    alike = float(ssim(fast, full))
    assert 0.85 < alike < 1 and number(r"SSIM: ([\d.]+)", text) == pytest.approx(alike, abs=6e-4)
    report = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert report["plan"] == "toprovar"
    assert report["token_layers"] < 0.5 * report["dense_token_layers"]
    opened(tmp_path / "out" / "plan.png", None)


def test_compare_strategies(tmp_path: Path) -> None:
    text = run("compare_strategies", tmp_path)
    rows = {name: (int(work), float(alike)) for name, work, alike in re.findall(
        r"^(\w+) +(\d+)% +[\d.]+ s +([\d.]+)$", text, re.MULTILINE)}
    assert list(rows) == ["dense", "toprovar", "fastvar", "skipvar", "fastervar", "ldpruning"]
    assert rows.pop("dense") == (100, 1.0)
    assert all(5 <= work <= 40 and 0.5 < alike < 1 for work, alike in rows.values()), rows
    width, height = opened(tmp_path / "out" / "strategies.png", None).size
    assert width > 3 * 384 and height > 2 * 384


def test_calibrate_a_model(tmp_path: Path, pipe: InfinityPipeline) -> None:
    text = run("calibrate_a_model", tmp_path, "--seconds", "5")
    found = Calibration.load(tmp_path / "out" / "calibration.json")
    assert found.depth == pipe.transformer.shape.depth and list(found.entries) == ["0.06M"]
    assert found.prompts == 6
    assert 10 <= number(r"work: (\d+)%", text) <= 40
    assert 0.5 < number(r"SSIM: ([\d.]+)", text) < 1
    opened(tmp_path / "out" / "sheet.png", None)


def test_draft_and_finish(tmp_path: Path, pipe: InfinityPipeline) -> None:
    text = run("draft_and_finish", tmp_path)
    draft = load_draft(tmp_path / "out" / "drafts.safetensors")
    assert len(draft) == 16 and not draft.finished
    at_once = pipe("a cat and a tree", seed=7 + 11, height=256).images[0]
    assert same(opened(tmp_path / "out" / "finished-11.png"), at_once)
    assert "draft 2: the picture drawn at once" in text
    assert "draft 11: the picture drawn at once" in text
    opened(tmp_path / "out" / "drafts.png", None)


def test_vary_and_inpaint(tmp_path: Path) -> None:
    text = run("vary_and_inpaint", tmp_path)
    drawn = opened(tmp_path / "out" / "drawn.png")
    alike = [float(ssim(opened(tmp_path / "out" / f"strength-{strength}.png"), drawn))
             for strength in (0.1, 0.8)]
    assert 1 > alike[0] > alike[1], "a greater strength changes more"
    inpainted = opened(tmp_path / "out" / "inpainted.png")
    left, right = (0, 0, 112, 256), (128, 0, 256, 256)
    assert same(inpainted.crop(left), drawn.crop(left))
    assert not same(inpainted.crop(right), drawn.crop(right))
    assert text == "left half: unchanged\n"
    opened(tmp_path / "out" / "sheet.png", None)


def test_edit_by_words(tmp_path: Path) -> None:
    text = run("edit_by_words", tmp_path)
    picture, mask, edited, _ = (opened(tmp_path / "out" / f"{name}.png")
                                for name in ("picture", "mask", "edited", "anew"))
    share = sum(mask.histogram()[128:]) / 256**2
    assert 0.05 < share < 0.5
    assert number(r"mask: (\d+)%", text) == pytest.approx(100 * share, abs=0.51)
    frog = (0, 64, 96, 192)  # on the left, and in both descriptions
    assert not any(mask.crop(frog).histogram()[1:])
    assert float(ssim(edited.crop(frog), picture.crop(frog))) > 0.95 > float(ssim(edited, picture))


def test_entropy_of_a_picture(tmp_path: Path) -> None:
    text = run("entropy_of_a_picture", tmp_path)
    trace = EntropyTrace.load(tmp_path / "out" / "trace.safetensors")
    assert trace.scales == tuple(range(7)) and trace.images == 1
    printed = {int(scale): float(value) for scale, value in re.findall(
        r"scale +(\d+) \(.*\): ([\d.]+)", text)}
    assert list(printed) == [1, 2, 3, 4, 5, 6]
    last = sum(float(trace.relative(6, n).mean()) for n in trace.layers) / len(trace.layers)
    assert printed[6] == pytest.approx(last, abs=0.0051) and 0.5 < last < 1
    opened(tmp_path / "out" / "picture.png")
    opened(tmp_path / "out" / "maps.png", None)


def test_plan_by_hand(tmp_path: Path) -> None:
    text = run("plan_by_hand", tmp_path)
    plan = load_plan(tmp_path / "out" / "plan.json")
    assert plan.strategy == "by hand"
    assert [step.guided for step in plan.scales] == [True] * 4 + [False] * 3
    assert set(plan.scales[-1].keep) == {128} and plan.scales[-1].dropped == "exit"
    rows = [1 if step.unconditional is False else 2 for step in plan.scales]
    left = sum(n * sum(kept) for n, kept in zip(rows, plan.counts, strict=True))
    full = sum(2 * step.tokens * len(step.keep) for step in plan.scales)
    assert number(r"work: (\d+)%", text) == pytest.approx(100 * left / full, abs=0.51)
    assert 0.8 < number(r"SSIM: ([\d.]+)", text) < 1
    for name in ("plan", "sheet"):
        opened(tmp_path / "out" / f"{name}.png", None)


def test_many_prompts(tmp_path: Path) -> None:
    text = run("many_prompts", tmp_path)
    assert text.startswith("3 pictures, 3 of them new, 0 failed\n")
    assert text.endswith("two-fruits.png drawn again: the same picture\n")
    lines = (tmp_path / "out" / "pictures" / "manifest.jsonl").read_text("utf-8").splitlines()
    rows = {row["file"]: row for row in map(json.loads, lines)}
    assert set(rows) == {"apple.png", "two-fruits.png", "birds.png"}
    for name, row in rows.items():
        opened(tmp_path / "out" / "pictures" / name)
        assert read_parameters(tmp_path / "out" / "pictures" / name)["prompt"] == row["prompt"]
    assert read_parameters(tmp_path / "out" / "pictures" / "two-fruits.png")["sparsity_plan"]
    assert run("many_prompts", tmp_path).startswith("3 pictures, 0 of them new, 0 failed\n")


def test_own_strategy(tmp_path: Path) -> None:
    text = run("own_strategy", tmp_path)
    rows = [(int(a), int(b), float(c)) for a, b, c in re.findall(
        r"last (\d+) unguided: work (\d+)%, SSIM ([\d.]+)", text)]
    assert [scales for scales, _, _ in rows] == [0, 1, 2, 4] and rows[0] == (0, 100, 1.0)
    work, alike = ([row[n] for row in rows] for n in (1, 2))
    assert work == sorted(work, reverse=True) and 50 < work[-1] < work[1] < 80
    assert all(0.8 < value < 1 for value in alike[1:])
    opened(tmp_path / "out" / "sheet.png", None)


def test_watch_the_scales(tmp_path: Path, pipe: InfinityPipeline) -> None:
    text = run("watch_the_scales", tmp_path)
    assert re.findall(r"scale (\d): (\d+) x", text) == [
        (str(i), str(side)) for i, side in enumerate((1, 2, 4, 6, 8, 12, 16))]
    pictures = [opened(tmp_path / "out" / f"scale-{i}.png") for i in range(7)]
    drawn = pipe("a purple balloon above an elephant", seed=9, height=256).images[0]
    assert same(pictures[-1], drawn)
    alike = [float(ssim(picture, drawn)) for picture in pictures]
    assert alike[2] < alike[4] < alike[5] < alike[6] == 1
    opened(tmp_path / "out" / "scales.png", None)


def test_without_options_it_writes_below_the_current_folder(tmp_path: Path) -> None:
    """And at the model's own size."""
    done: Finished = run_example("plan_by_hand", tmp_path)
    assert done.code == 0, done.errors[-3000:]
    assert len(load_plan(tmp_path / "out" / "plan_by_hand" / "plan.json").scales) == 10


def test_a_model_that_is_missing_is_named(tmp_path: Path) -> None:
    done = run_example("first_picture", tmp_path, "--model", "nowhere")
    assert done.code == 1 and "nowhere" in done.errors.splitlines()[-1]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", SCRIPTS)
def test_is_short_and_says_what_it_does(name: str) -> None:
    text = (EXAMPLES / f"{name}.py").read_text("utf-8")
    assert 15 <= len(text.splitlines()) <= 70
    tree = ast.parse(text)
    about = " ".join((ast.get_docstring(tree) or "").split())
    assert "Writes " in about and "Prints " in about
    for node in ast.walk(tree):
        modules = [node.module] if isinstance(node, ast.ImportFrom) else \
            [one.name for one in node.names] if isinstance(node, ast.Import) else []
        for module in filter(None, modules):
            assert not module.startswith("toprovar") or module in PUBLIC, module
    assert f'default=Path("out/{name}")' in text


def test_every_example_is_tested_and_listed() -> None:
    assert {f"test_{name}" for name in SCRIPTS} <= globals().keys()
    listed = re.findall(r"^\| \[`([\w.]+)`\]\(([\w.]+)\) \|", (EXAMPLES / "README.md").read_text(
        "utf-8"), re.MULTILINE)
    files = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    assert {name for name, _ in listed} == files and all(name == link for name, link in listed)


def test_comfyui_neither_gets_nor_serves_them() -> None:
    """The registry leaves the folder out. In a clone it would stand in for that of the templates,
    if that had a name which ComfyUI looks for later."""
    assert "examples/" in (ROOT / ".comfyignore").read_text("utf-8").splitlines()
    assert not list(EXAMPLES.glob("*.json"))
    assert list((ROOT / "example_workflows").glob("*.json"))

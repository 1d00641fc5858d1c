"""Details, Fréchet distances and tables of the quality benchmark, and damage to pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.corruptions import KINDS, STEPS, Spot, damaged, erased, exchanged, spots
from benchmarks.quality_detail import DetailTask
from benchmarks.quality_measures import REAL, read_features, write_features
from benchmarks.quality_report import FLOOR, sets_table, summary
from benchmarks.quality_sets import Sets, details
from toprovar.evaluation.compositional import Judge
from toprovar.evaluation.compositional.prompts import ObjectSpec, PromptSpec
from toprovar.evaluation.distribution import frechet_distance
from training.data.asked import scenes_for
from training.data.atlas import SpriteAtlas
from training.data.compose import compose

ATLAS = Path(__file__).resolve().parents[2] / "training" / ".cache" / "atlas.safetensors"


def test_features_lie_beside_the_parts_by_row_and_space(tmp_path: Path) -> None:
    rows = {"toprovar @ 0.2": {"whole": np.ones((2, 3), np.float16)},
            REAL[0]: {"whole": np.zeros((2, 3), np.float16)}}
    write_features(tmp_path / "part.npz", rows)
    found = read_features(tmp_path / "part.npz")
    assert found.keys() == rows.keys()
    assert np.array_equal(found["toprovar @ 0.2"]["whole"], rows["toprovar @ 0.2"]["whole"])
    assert read_features(tmp_path / "none.npz") == {}


def _parts(folder: Path, count: int, size: int) -> list[Path]:
    """Parts whose row "off" is further from the real ones than dense."""
    rng, paths = np.random.default_rng(0), []
    for part in range(count):
        path = folder / f"part-0.06M-{part:04}.json"
        rows = {name: {"whole": (rng.normal(size=(size, 4)) + shift).astype(np.float16)}
                for name, shift in ((REAL[0], 0), (REAL[1], 0), ("dense", 0.2), ("off", 2.0))}
        write_features(path.with_suffix(".npz"), rows)
        figures = {"passed": [1] * size, "detail": [[4, 3, 2, 1]] * size}
        extra = {"flops": 0.3, "token_layers": 0.3, "ssim": [0.9] * size, "psnr": [20.0] * size,
                 "latent": [0.1] * size, "sharpness": [1.0] * size, "seen": [0.01] * size}
        path.write_text(json.dumps({"tasks": ["single"] * size,
                                    "rows": {"dense": figures, "off": figures | extra}}))
        paths.append(path)
    return paths


def test_distances_are_taken_over_all_parts_of_a_row(tmp_path: Path) -> None:
    paths = _parts(tmp_path, 3, 40)
    sets = Sets(paths)
    dense, off, floor = sets.row("dense"), sets.row("off"), sets.floor()
    assert off["frechet_whole"] > dense["frechet_whole"] > floor["frechet_whole"] - 0.05
    real, drawn = (torch.from_numpy(np.concatenate(
        [read_features(p.with_suffix(".npz"))[name]["whole"] for p in paths])).float()
        for name in (REAL[0], "off"))
    assert off["frechet_whole"] == pytest.approx(frechet_distance(real, drawn), abs=1e-4)
    low, high = off["frechet_whole_interval"]
    assert low < off["frechet_whole"] < high
    assert off["precision"] < 0.5 < dense["precision"] and off["cover_space"] == "whole"
    assert sets.row("absent") == {} and "frechet_second" not in dense


def test_details_are_shares_of_all_that_was_asked_for() -> None:
    found = details([{"detail": [[4, 4, 1, 1], [4, 1, 2, 0]]}, {}, {"detail": [[2, 1, 1, 0]]}])
    assert found["parts"] == 0.6 and found["whole_objects"] == 0.25
    assert found["parts_interval"][0] <= 0.6 <= found["parts_interval"][1]
    assert details([{"passed": [1]}]) == {}


def test_the_tables_have_the_measures_that_there_are(tmp_path: Path) -> None:
    paths = _parts(tmp_path, 2, 30)
    rows = summary(tmp_path, "0.06M")
    table = sets_table(rows, Sets(paths).floor())
    lines = table.splitlines()
    assert lines[0].split("|")[3:9] == [" parts ", " whole objects ", " Fréchet, judge ",
                                        " precision ", " recall ", " judge's distance "]
    assert [line.split("|")[1].strip() for line in lines[2:]] == [FLOOR, "dense", "off"]
    assert " 75.0% (75.0% to 75.0%) " in lines[4] and " x)" in lines[4]
    for path in paths:
        path.with_suffix(".npz").unlink()
        part = json.loads(path.read_text())
        for figures in part["rows"].values():
            figures.pop("detail")
            figures.pop("seen", None)
        path.write_text(json.dumps(part))
    assert sets_table(summary(tmp_path, "0.06M"), {}) == ""


def test_erasing_and_exchanging_touch_the_parts_alone() -> None:
    picture = torch.full((3, 64, 64), 0.5)
    picture[:, 10:20, 10:20], picture[:, 40:50, 40:50] = 1.0, 0.0
    first, second = Spot(8, 22, 8, 22), Spot(38, 52, 38, 52)
    gone = picture.clone()
    erased(gone, first)
    assert (gone[:, 12:18, 12:18] == 0.5).all() and (gone[:, 40:50, 40:50] == 0).all()
    swapped = picture.clone()
    exchanged(swapped, first, second)
    assert (swapped[:, 12:18, 12:18] < 0.1).all() and (swapped[:, 42:48, 42:48] > 0.9).all()
    outside = torch.ones(64, 64, dtype=torch.bool)
    for spot in (first, second):
        outside[spot.top : spot.bottom, spot.left : spot.right] = False
    assert torch.equal(swapped[:, outside], picture[:, outside])


def test_damage_grows_with_its_strength(small_scene: tuple) -> None:
    scenes, images = small_scene
    for kind in KINDS:
        gaps = [(damaged(kind, images, scenes, s) - images).abs().mean().item()
                for s in range(STEPS + 1)]
        assert gaps[0] == 0 and gaps[1] <= gaps[2] + 1e-6 and gaps[1] < gaps[STEPS]
    with pytest.raises(ValueError, match="kind must be one of"):
        damaged("rust", images, scenes, 1)


PROMPTS = [PromptSpec("single", "a dog", (ObjectSpec("dog"),)),
           PromptSpec("counting", "two cats", (ObjectSpec("cat", None, 2),)),
           PromptSpec("colours", "a blue car", (ObjectSpec("car", "blue"),))]


@pytest.fixture(scope="module")
def art() -> SpriteAtlas:
    if not ATLAS.is_file():
        pytest.skip("no sprite atlas here; python -m training.data.atlas builds it")
    return SpriteAtlas.load(ATLAS, side=192)


@pytest.fixture
def small_scene(art: SpriteAtlas) -> tuple:
    scenes = scenes_for(PROMPTS, 3)
    return scenes, compose(scenes, art, 256, as_float=True)


def test_the_detail_task_sees_what_is_gone(art: SpriteAtlas, small_scene: tuple) -> None:
    scenes, images = small_scene
    task, judge = DetailTask(art), Judge.load()
    whole = task.look(images, PROMPTS, judge.detect(images))
    assert all(d.present == d.parts > 0 and d.whole == d.objects for d in whole)
    assert [d.objects for d in whole] == [1, 2, 1]
    damaged_picture = images[:1].clone()
    eyes = spots(scenes, 0, 256)[0][:2]
    for spot in eyes:
        erased(damaged_picture[0], spot)
    found = task.look(damaged_picture, PROMPTS[:1], judge.detect(damaged_picture))[0]
    missed = {name for name, error in found.errors.items() if error > 0.35}
    assert missed == {"dog: left eye", "dog: right eye"} and found.whole == 0
    nothing = task.look(images[:1], PROMPTS[:1], [[]])[0]
    assert (nothing.present, nothing.objects) == (0, 1) and nothing.parts == len(whole[0].errors)

"""Pictures in the layouts of official scorers, drawn by the embedded model, and scores read back.

The scorers' weights are not here: what they write is written by ``scorer_cases`` in their formats.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.dpg import DPG
from benchmarks.geneval import GenEval
from benchmarks.scorer.base import load_manifest
from benchmarks.scorer.main import main
from tests.benchmarks.scorer_cases import CASES, PROMPTS, Case
from toprovar.bundled import bundled_model
from toprovar.pipeline import InfinityPipeline

SIZE = ["--pixels", "0.06M"]
by_name = pytest.mark.parametrize("case", CASES, ids=lambda case: case.bench.name)


def write(case: Case, folder: Path, *more: str) -> int:
    prompts = folder / "given"
    if not prompts.exists():
        prompts.mkdir()
        case.prompts(prompts)
    given = {"geneval": "evaluation_metadata.jsonl", "dpg": "prompts", "hpsv2": ".",
             "imagereward": "benchmark-prompts.json", "mjhq": "meta_data.json"}[case.bench.name]
    return main(case.bench, ["write", str(prompts / given), str(folder / "out"), *SIZE,
                             "--images", str(case.images), *more])


def drawn(folder: Path) -> dict[str, Path]:
    return {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}


def judge(case: Case, out: Path, method: str) -> Path:
    file = case.bench.score_file(out, method)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(case.judge(out / "images" / method))
    return file


@pytest.fixture(scope="module")
def pipeline() -> Any:
    pipe = InfinityPipeline.from_folder(bundled_model(), torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@by_name
def test_there_and_back(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two methods: the scorer's layout and nothing else, then one table of both."""
    assert write(case, tmp_path) == 0
    assert write(case, tmp_path, "--plan", "fastvar", "--method", "fastvar-low", "--budget",
                 "0.5") == 0
    out = tmp_path / "out"
    for method in ("dense", "fastvar-low"):
        assert tuple(drawn(out / "images" / method)) == tuple(sorted(case.layout))
        judge(case, out, method)
    assert not list((out / "staging").iterdir())
    told = capsys.readouterr().out
    assert str(out / "images" / "fastvar-low") in told and "score them:" in told

    report = tmp_path / "report.json"
    assert main(case.bench, ["read", str(out), "--json", str(report)]) == 0
    table = capsys.readouterr().out
    assert case.bench.title in table and "fastvar-low" in table and "token-layers" in table
    found = json.loads(report.read_text())["methods"]
    assert list(found) == ["dense", "fastvar-low"]
    for method in found.values():
        scores = {task: score["score"] for task, score in method["scores"].items()}
        assert scores == pytest.approx(case.scores)
    assert found["dense"]["costs"]["token_layer_share"] == 1
    assert 0.3 < found["fastvar-low"]["costs"]["token_layer_share"] < 0.75
    assert found["fastvar-low"]["manifest"]["plan"] == {"plan": "fastvar", "budget": 0.5}


def test_pictures_are_those_of_their_seeds(tmp_path: Path, pipeline: Any) -> None:
    """Neither the batch nor a shard decides what picture j of prompt i is.

    A batch rounds sums otherwise than a picture drawn alone does, on some processors by 7e-5 of a
    logit, and a bit whose draw lies that near falls the other way. So the files must be the bytes
    of the same batch, and the bits of a batch those of its pictures alone, but for such near-ties:
    up to the first of them everything is compared, after it the pictures go apart.
    """
    case = CASES[0]
    for shard in ("0/2", "1/2"):
        assert write(case, tmp_path, "--seed", "7", "--batch", "3", "--shard", shard) == 0
    for i, prompt in enumerate(PROMPTS):
        seeds = [7 + 2 * i, 8 + 2 * i]
        together, states = drawn_by(pipeline, [prompt] * 2, seeds)
        for j, seed in enumerate(seeds):
            path = tmp_path / "out" / "images" / "dense" / f"{i:05d}" / "samples" / f"{j:04d}.png"
            assert np.array_equal(np.asarray(Image.open(path)), np.asarray(together[j]))
            _, alone = drawn_by(pipeline, [prompt], [seed])
            assert agreed_bits(states, alone, j) >= 300
            _, other = drawn_by(pipeline, [prompt], [seed + 50])
            assert agreed_bits(states, other, j) < 100
    metadata = tmp_path / "out" / "images" / "dense" / "00001" / "metadata.jsonl"
    assert json.loads(metadata.read_text())["prompt"] == PROMPTS[1]


Scale = tuple[torch.Tensor, torch.Tensor]
"""Logits [B, N, 2 d] and bits [B, N, d]."""


def drawn_by(pipeline: Any, prompts: list[str], seeds: list[int]) -> tuple[list[Any], list[Scale]]:
    """Pictures, and what every scale computed and drew."""
    scales: list[Scale] = []
    done = pipeline(prompts, seed=seeds, height=256, width=256,
                    on_scale=lambda s: scales.append((s.logits.clone(), s.bits.clone())))
    return done.images, scales


def agreed_bits(batch: list[Scale], alone: list[Scale], row: int) -> int:
    """Bits of the scales until picture ``row`` of a batch and the one drawn alone go apart. Logits
    must agree until there; where they do, more than a near-tie or two is another draw."""
    count = 0
    for (logits, bits), (own_logits, own_bits) in zip(batch, alone, strict=True):
        assert (logits[row] - own_logits[0]).abs().max() < 1e-3
        differ = int((bits[row] != own_bits[0]).sum())
        if differ > max(1, bits[row].numel() // 1000):
            break
        count += bits[row].numel() - differ
        if differ:
            break
    return count


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    case = CASES[0]
    write(case, tmp_path)
    files = drawn(tmp_path / "out" / "images" / "dense")
    before = {name: (path.read_bytes(), path.stat().st_mtime_ns) for name, path in files.items()}
    lost = files["00001/samples/0000.png"]
    lost.unlink()
    assert write(case, tmp_path) == 0
    for name, (content, when) in before.items():
        assert files[name].read_bytes() == content
        if not name.startswith("00001"):
            assert files[name].stat().st_mtime_ns == when, name
    costs = json.loads((tmp_path / "out" / "costs" / "dense.0-1.json").read_text())
    assert costs["pictures"] == 4 + 2  # a prompt's pictures are drawn together


@pytest.mark.parametrize(("more", "reason"), [
    (["--seed", "1"], "seed 0 (now 1)"), (["--cfg", "2"], "cfg 4.0 (now 2.0)"),
    (["--plan", "skipvar", "--skip", "1", "--method", "dense"], "plan {'plan': 'dense'} (now"),
    (["--limit", "1"], "prompts "),
])
def test_other_settings_need_another_method(tmp_path: Path, more: list[str], reason: str,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    case = CASES[1]
    write(case, tmp_path)
    assert write(case, tmp_path, *more) == 2
    told = capsys.readouterr().err
    assert "made otherwise" in told and reason in told and "another --method" in told


def test_rewritten_prompts_are_drawn_and_the_own_ones_scored(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = CASES[0]
    rewrites = tmp_path / "rewrites.json"
    rewrites.write_text(json.dumps({PROMPTS[0]: "a blue car"}))
    assert write(case, tmp_path, "--rewrites", str(rewrites)) == 2
    assert "nothing for 1 of 2 prompts, the first is 'two cats'" in capsys.readouterr().err
    rewrites.write_text(json.dumps({PROMPTS[0]: "a blue car", PROMPTS[1]: PROMPTS[1]}))
    assert write(case, tmp_path, "--rewrites", str(rewrites)) == 0
    assert write(case, tmp_path, "--method", "plain") == 0
    files = [drawn(tmp_path / "out" / "images" / method) for method in ("dense", "plain")]
    same = {name: files[0][name].read_bytes() == files[1][name].read_bytes() for name in files[0]}
    assert same == {name: not (name.startswith("00000") and name.endswith("png"))
                    for name in files[0]}


def test_dpg_has_its_pictures_in_reading_order() -> None:
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0)]
    pictures = [Image.new("RGB", (8, 8), colour) for colour in colours]
    for count, size in ((1, (8, 8)), (2, (16, 8)), (4, (16, 16))):
        grid = Image.open(io.BytesIO(DPG().encode(pictures[:count])[0]))
        assert grid.size == size
        for j in range(count):  # the scorer's cuts
            cut = grid.crop((8 * (j % 2), 8 * (j // 2), 8 * (j % 2) + 8, 8 * (j // 2) + 8))
            assert cut.getcolors() == [(64, colours[j])]


@pytest.mark.parametrize(("argv", "reason"), [
    (["--images", "5"], "--images must be 1 to 4, got 5"),
    (["--aspect", "3:2"], "choose a square size"),
    (["--shard", "2/2"], "--shard must look like"), (["--batch", "0"], "--batch"),
    (["--method", "a/b"], "letters, digits"), (["--plan", "none"], "no strategy and no file"),
    (["--limit", "0"], "--limit"), (["--skip", "1"], "--skip is an option of skipvar"),
])
def test_bad_arguments(tmp_path: Path, argv: list[str], reason: str,
                       capsys: pytest.CaptureFixture[str]) -> None:
    assert write(CASES[1], tmp_path, *argv) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(("case", "file", "content", "reason"), [
    (CASES[0], "evaluation_metadata.jsonl", '{"tag": "a"}', 'line 1 has no "tag" and "prompt"'),
    (CASES[0], "evaluation_metadata.jsonl", "a red apple", "line 1 is no JSON object"),
    (CASES[1], "prompts/a.b.txt", "a", "may have no dot"),
    (CASES[1], "prompts/1.txt", " ", "the prompt of '1' is empty"),
    (CASES[2], "photo.json", '{"a": 1}', "expected a list of prompts"),
    (CASES[3], "benchmark-prompts.json", '[{"id": 1, "prompt": "a"}, {"id": "1", "prompt": "b"}]',
     "'1' is there twice"),
    (CASES[3], "benchmark-prompts.json", '[{"id": "../1", "prompt": "a"}]', "cannot be a file"),
    (CASES[4], "meta_data.json", '{"a": {"prompt": "b"}}', "category"),
])
def test_bad_prompts(tmp_path: Path, case: Case, file: str, content: str, reason: str,
                     capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "given").mkdir()
    case.prompts(tmp_path / "given")
    (tmp_path / "given" / file).write_text(content)
    assert write(case, tmp_path) == 2
    assert reason in capsys.readouterr().err


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each benchmark's pictures, and the scorer's output."""
    found = {}
    for case in CASES:
        folder = tmp_path_factory.mktemp(case.bench.name)
        assert write(case, folder) == 0
        judge(case, folder / "out", "dense")
        found[case.bench.name] = folder / "out"
    return found


@pytest.mark.parametrize(("index", "old", "new", "reason"), [
    (0, '"counting"', '"counting", "x": 1', None),
    (0, "00001/samples/0001.png", "00001/samples/0000.png", "is there twice"),
    (0, "correct", "right", "line 1 has no correct"),
    (1, ", 0.5, 0.75", ", 0.75", "expected a path, 2 scores and their mean"),
    (1, "partiprompts12.png", "3.png", "1 of 2 are not among them (the first is partiprompts12)"),
    (1, "DPG-Bench score: 50.0\n", "", "0 lines"), (1, "score: 50.0", "score: 51.0", "give 50.0"),
    (2, "Loading", "missing image for prompt: x\nLoading", "missed 1 pictures"),
    (2, "Average", "Means", 'no line "dense Average N"'),
    (3, "[0.0]]", "[0.0], [1.0]]", "3 rewards for '000000-0057'"),
    (3, '"000001-0057"', '"2"', "none for '000001-0057'"),
    (4, '"food": 30.25', '"food": null', "no FID of food"), (4, '{"overall"', "x", "no JSON"),
])
def test_scores_that_are_not_whole(written: dict[str, Path], tmp_path: Path, index: int, old: str,
                                   new: str, reason: str | None,
                                   capsys: pytest.CaptureFixture[str]) -> None:
    case = CASES[index]
    out = written[case.bench.name]
    text = case.bench.score_file(out, "dense").read_text()
    assert old in text
    file = tmp_path / "scores"
    file.write_text(text.replace(old, new, 1))
    status = main(case.bench, ["read", str(out), "--scores", f"dense={file}"])
    assert status == (2 if reason else 0)
    assert (reason or "") in capsys.readouterr().err


def test_what_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case, out = CASES[0], tmp_path / "out"

    def told(*more: str) -> str:
        assert main(case.bench, ["read", str(out), *more]) == 2
        return capsys.readouterr().err

    assert "no pictures in it" in told()
    write(case, tmp_path)
    capsys.readouterr()
    assert "no scores of 'dense': expected" in (message := told())
    assert "evaluate_images.py" in message
    assert "no pictures of 'skipvar'; there is dense" in told("--methods", "skipvar")
    assert main(DPG(), ["read", str(out)]) == 2
    assert "are for geneval, not for dpg" in capsys.readouterr().err
    file = judge(case, out, "dense")
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    assert "1 pictures have no score (the first is 00001/samples/0001.png)" in told()
    (out / "images" / "dense" / "00001" / "samples" / "0001.png").unlink()
    assert "1 of 2 prompts of 'dense' have no pictures yet (the first is 00001)" in told()


def test_methods_that_differ_in_more_than_the_plan(tmp_path: Path,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    case = CASES[0]
    write(case, tmp_path)
    write(case, tmp_path, "--method", "other", "--seed", "9", "--tau", "0.5")
    for method in ("dense", "other"):
        judge(case, tmp_path / "out", method)
    capsys.readouterr()
    assert main(GenEval(), ["read", str(tmp_path / "out")]) == 0
    assert "note: dense and other differ in tau, seed, too" in capsys.readouterr().out


def test_a_saved_plan_is_told_apart_by_its_content(tmp_path: Path) -> None:
    from toprovar.cli import main as toprovar

    case, plan = CASES[1], tmp_path / "plan.json"
    assert toprovar(["plan", "make", "fastvar", str(plan), "--pixels", "0.06M"]) == 0
    assert write(case, tmp_path, "--plan", str(plan)) == 0
    manifest = load_manifest(tmp_path / "out" / "methods" / "plan.json")
    assert manifest.plan == {"plan": "plan.json"} and manifest.plan_file
    plan.write_text(plan.read_text().replace("\n", "\n "))
    assert write(case, tmp_path, "--plan", str(plan)) == 2


def test_the_command_for_clean_fid_can_be_typed(tmp_path: Path) -> None:
    """Its Python is quoted for a shell. What it calls is a stand-in: clean-fid needs weights."""
    package = tmp_path / "cleanfid"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "fid.py").write_text("def compute_fid(a, b):\n    print('fid of', a, b)\n"
                                    "    return float(len(a) + len(b))\n")
    case = CASES[4]
    write(case, tmp_path)
    out = tmp_path / "out"
    command = case.bench.how(out, load_manifest(out / "methods" / "dense.json"))
    command = command.replace("python ", f"{shlex.quote(sys.executable)} ", 1)
    subprocess.run(command.replace("REFERENCE", "ref"), shell=True, check=True,
                   env={**os.environ, "PYTHONPATH": str(tmp_path)})
    found = case.bench.read(case.bench.score_file(out, "dense"),
                            load_manifest(out / "methods" / "dense.json"))
    base = len("ref") + len(str(out / "images" / "dense"))
    assert {k: s.value for k, s in found.items()} == {
        "overall": base, "animals": base + 2 * len("/animals"), "food": base + 2 * len("/food")}

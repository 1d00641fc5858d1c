"""Two prompts in the form of each benchmark, and what its scorer would write about them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.dpg import DPG
from benchmarks.geneval import GenEval
from benchmarks.hpsv2 import STYLES, HPSv2
from benchmarks.imagereward import ImageReward
from benchmarks.mjhq import MJHQ
from benchmarks.scorer.base import Benchmark

PROMPTS = ("a red apple", "two cats")


@dataclass(frozen=True)
class Case:
    """A benchmark to be tested.

    Attributes:
        prompts: writes its prompt files into a folder and returns what ``write`` is given.
        images: pictures drawn of each prompt.
        layout: every file that the scorer finds then.
        judge: what the scorer writes about the folder of a method.
        scores: what must be read back.
    """

    bench: Benchmark
    prompts: Callable[[Path], Path]
    images: int
    layout: tuple[str, ...]
    judge: Callable[[Path], str]
    scores: dict[str, float]


def _geneval_prompts(folder: Path) -> Path:
    lines = [{"tag": tag, "include": [{"class": "apple", "count": 1}], "prompt": prompt}
             for tag, prompt in zip(("colors", "counting"), PROMPTS, strict=True)]
    file = folder / "evaluation_metadata.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines))
    return file


def _geneval_judge(folder: Path) -> str:
    lines = []
    for path in sorted(folder.glob("*/samples/*.png")):
        about = json.loads((path.parents[1] / "metadata.jsonl").read_text())
        correct = about["tag"] == "colors" or path.name == "0000.png"
        lines.append({"filename": str(path), "tag": about["tag"], "prompt": about["prompt"],
                      "correct": correct, "reason": "", "metadata": json.dumps(about),
                      "details": "{}"})
    return "\n".join(json.dumps(line) for line in lines) + "\n"


def _dpg_prompts(folder: Path) -> Path:
    (folder / "prompts").mkdir()
    for name, prompt in zip(("1", "partiprompts12"), PROMPTS, strict=True):
        (folder / "prompts" / f"{name}.txt").write_text(prompt + "\n")
    return folder / "prompts"


def _dpg_judge(folder: Path) -> str:
    lines = [f"{folder}/1.png, 1.0, 0.5, 0.75", f"{folder}/partiprompts12.png, 0.25, 0.25, 0.25"]
    return "\n".join([
        *lines, f"Model: {folder.name}", "L1 category scores:", "\tentity: 62.5", "\tother: 37.5",
        "L2 category scores:", "\tentity - whole: 62.5", "\tother - count: 37.5",
        f"Image path: {folder}", "Save results to: x.txt", "DPG-Bench score: 50.0",
    ]) + "\n"


def _hpsv2_prompts(folder: Path) -> Path:
    for style in STYLES:
        (folder / f"{style}.json").write_text(json.dumps(
            [PROMPTS[0]] if style != "photo" else list(PROMPTS)))
    return folder


def _hpsv2_judge(folder: Path) -> str:
    name = folder.name
    return "\n".join([
        "Loading model ...", "-----------benchmark score ---------------- ",
        *(f"{name} {style:<15} {27.5 + i:.2f} \t 0.1250" for i, style in enumerate(STYLES)),
        f"{name} {'Average':<15} 29.20 \t",
    ]) + "\n"


def _imagereward_prompts(folder: Path) -> Path:
    file = folder / "benchmark-prompts.json"
    file.write_text(json.dumps([{"id": f"00000{i}-0057", "prompt": prompt}
                                for i, prompt in enumerate(PROMPTS)]))
    return file


def _imagereward_judge(folder: Path) -> str:
    names = sorted({path.name.rsplit("_", 1)[0] for path in folder.iterdir()})
    return json.dumps([{"id": name, "prompt": prompt, "mean_score": i - 0.5,
                        "rewards": [[i - 1.0], [i + 0.0]]}
                       for i, (name, prompt) in enumerate(zip(names, PROMPTS, strict=True))])


def _mjhq_prompts(folder: Path) -> Path:
    file = folder / "meta_data.json"
    file.write_text(json.dumps({name: {"category": category, "prompt": prompt} for
                                name, category, prompt in zip(("126c23", "a0b1"),
                                                              ("food", "animals"), PROMPTS,
                                                              strict=True)}))
    return file


def _mjhq_judge(folder: Path) -> str:
    return ("compute FID between two folders\nFound 2 images in the folder\n"
            '{"overall": 9.55, "animals": 20.5, "food": 30.25}\n')


CASES = (
    Case(GenEval(), _geneval_prompts, 2, tuple(
        f"{i:05d}/{file}" for i in range(2)
        for file in ("metadata.jsonl", "samples/0000.png", "samples/0001.png")
    ), _geneval_judge, {"colors": 1.0, "counting": 0.5, "overall": 0.75}),
    Case(DPG(), _dpg_prompts, 2, ("1.png", "partiprompts12.png"), _dpg_judge,
         {"entity": 62.5, "other": 37.5, "DPG-Bench score": 50.0}),
    Case(HPSv2(), _hpsv2_prompts, 1, (
        "anime/00000.jpg", "concept-art/00000.jpg", "paintings/00000.jpg", "photo/00000.jpg",
        "photo/00001.jpg",
    ), _hpsv2_judge, {"anime": 27.5, "concept-art": 28.5, "paintings": 29.5, "photo": 30.5,
                      "Average": 29.2}),
    Case(ImageReward(), _imagereward_prompts, 2, tuple(
        f"00000{i}-0057_{j}.png" for i in range(2) for j in range(2)
    ), _imagereward_judge, {"ImageReward": 0.0}),
    Case(MJHQ(), _mjhq_prompts, 1, ("animals/a0b1.png", "food/126c23.png"), _mjhq_judge,
         {"animals": 20.5, "food": 30.25, "overall": 9.55}),
)

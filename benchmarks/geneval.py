"""GenEval: does the picture show what the prompt names, as an object detector sees it.

    python -m benchmarks.geneval write evaluation_metadata.jsonl OUT --plan toprovar --budget 0.3
    python -m benchmarks.geneval read OUT --json geneval.json

Formats, from https://github.com/djghosh13/geneval (README.md, evaluation/evaluate_images.py and
summary_scores.py): prompts are lines of ``prompts/evaluation_metadata.jsonl``, objects with "tag"
and "prompt". The scorer reads ``NNNNN/metadata.jsonl`` (that line) and ``NNNNN/samples/NNNN.png``,
4 pictures a prompt in the paper, and writes a line a picture with "filename", "tag", "correct".
A task's score is the share of its pictures that are correct, the overall score the mean of tasks.
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from benchmarks.scorer.base import Benchmark, Item, Manifest, Score, check_items
from benchmarks.scorer.main import main
from toprovar.evaluation.compositional.report import wilson


class GenEval(Benchmark):
    name, title, images, suffix = "geneval", "GenEval", 4, ".jsonl"

    def items(self, prompts: Path) -> list[Item]:
        items = []
        for number, line in enumerate(_lines(prompts)):
            about = _parse(line, prompts, number)
            if not isinstance(about.get("prompt"), str) or "tag" not in about:
                raise ValueError(f"{prompts}: line {number + 1} has no \"tag\" and \"prompt\"")
            name = f"{number:05d}"
            items.append(Item(name, about["prompt"], ((f"{name}/metadata.jsonl", line + "\n"),)))
        return check_items(items, prompts)

    def paths(self, name: str, images: int) -> list[str]:
        return [f"{name}/samples/{j:04d}.png" for j in range(images)]

    def how(self, out: Path, manifest: Manifest) -> str:
        images = shlex.quote(str(out / "images" / manifest.method))
        scores = shlex.quote(str(self.score_file(out, manifest.method)))
        return (f"python evaluation/evaluate_images.py {images} --outfile {scores} "
                "--model-path OBJECT_DETECTOR_FOLDER")

    def read(self, file: Path, manifest: Manifest) -> dict[str, Score]:
        expected = {path for name in manifest.items for path in self.paths(name, manifest.images)}
        marks: dict[str, list[bool]] = {}
        for number, line in enumerate(_lines(file)):
            about = _parse(line, file, number)
            lacking = [key for key in ("filename", "tag", "correct") if key not in about]
            if lacking:
                raise ValueError(f"{file}: line {number + 1} has no {', '.join(lacking)}: not an "
                                 "output of GenEval's evaluate_images.py")
            path = "/".join(Path(about["filename"].replace("\\", "/")).parts[-3:])
            if path not in expected:
                raise ValueError(f"{file}: line {number + 1} scores {path}, which is there twice "
                                 f"or is no picture of {manifest.method!r}")
            expected.remove(path)
            marks.setdefault(about["tag"], []).append(bool(about["correct"]))
        if expected:
            raise ValueError(f"{file}: {len(expected)} pictures have no score (the first is "
                             f"{min(expected)}): let the scorer finish")
        scores = {}
        for tag, own in marks.items():
            scores[tag] = Score(sum(own) / len(own), *wilson(sum(own), len(own)))
        overall = sum(score.value for score in scores.values()) / len(scores)
        return {**scores, "overall": Score(overall)}


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    return [line for line in path.read_text("utf-8").splitlines() if line.strip()]


def _parse(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        about = json.loads(line)
    except ValueError:
        about = None
    if not isinstance(about, dict):
        raise ValueError(f"{path}: line {number + 1} is no JSON object")
    return about


if __name__ == "__main__":
    raise SystemExit(main(GenEval()))

"""ImageReward: a reward model of human preference.

    python -m benchmarks.imagereward write benchmark/benchmark-prompts.json OUT --plan fastvar
    python -m benchmarks.imagereward read OUT --json imagereward.json

Formats, from https://github.com/THUDM/ImageReward (test-benchmark.py): prompts are a JSON list of
objects with "id" and "prompt"; picture x of a prompt is ``METHOD/ID_x.png``, and how many there are
follows from the number of files in that folder. The scorer writes a list of objects with "id",
"mean_score" and "rewards", one of them for each picture; the score is the mean of means.
"""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Any

from benchmarks.scorer.base import Benchmark, Item, Manifest, Score, check_items, read_json
from benchmarks.scorer.main import main

REWARD = "ImageReward-v1.0"


class ImageReward(Benchmark):
    name, title, images = "imagereward", "ImageReward", 10

    def score_file(self, out: Path, method: str) -> Path:
        return out / "scores" / REWARD / f"{REWARD}-benchmark-{method}-result.json"

    def items(self, prompts: Path) -> list[Item]:
        found = read_json(prompts)
        if not isinstance(found, list) or not all(
            isinstance(a, dict) and "id" in a and isinstance(a.get("prompt"), str) for a in found
        ):
            raise ValueError(f"{prompts}: expected a list of objects with \"id\" and \"prompt\"")
        return check_items([Item(str(a["id"]), a["prompt"]) for a in found], prompts)

    def paths(self, name: str, images: int) -> list[str]:
        return [f"{name}_{j}.png" for j in range(images)]

    def how(self, out: Path, manifest: Manifest) -> str:
        images, scores = shlex.quote(str(out / "images")), shlex.quote(str(out / "scores"))
        return (f"python test-benchmark.py --prompts_path PROMPTS.json --img_dir {images} "
                f"--result_dir {scores} --model {manifest.method} --benchmark {REWARD}")

    def read(self, file: Path, manifest: Manifest) -> dict[str, Score]:
        found = read_json(file)
        if not isinstance(found, list) or not all(isinstance(a, dict) and "rewards" in a
                                                  and "id" in a for a in found):
            raise ValueError(f"{file}: expected a list of objects with \"id\" and \"rewards\": not "
                             "an output of ImageReward's test-benchmark.py")
        means: dict[str, float] = {}
        for about in found:
            rewards = _flat(about["rewards"])
            if len(rewards) != manifest.images:
                raise ValueError(f"{file}: {len(rewards)} rewards for {about['id']!r}, expected "
                                 f"{manifest.images}")
            means[str(about["id"])] = sum(rewards) / len(rewards)
        lacking = [name for name in manifest.items if name not in means]
        if lacking or len(found) != len(manifest.items):
            raise ValueError(f"{file}: {len(found)} entries for {len(manifest.items)} prompts"
                             + (f", none for {lacking[0]!r}" if lacking else ""))
        values = list(means.values())
        mean = sum(values) / len(values)
        half = 1.96 * math.sqrt(sum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1)
                                / len(values))
        return {"ImageReward": Score(mean, mean - half, mean + half)}


def _flat(rewards: Any) -> list[float]:
    """The scorer gives a number for one picture, else numbers, each in a list of its own or not."""
    if isinstance(rewards, list):
        return [value for part in rewards for value in _flat(part)]
    return [float(rewards)]


if __name__ == "__main__":
    raise SystemExit(main(ImageReward()))

"""DPG-Bench: long prompts, answered question by question by a visual question answering model.

    python -m benchmarks.dpg write dpg_bench/prompts OUT --plan toprovar --budget 0.3
    python -m benchmarks.dpg read OUT --json dpg.json

Formats, from https://github.com/TencentQQGYLab/ELLA (dpg_bench/compute_dpg_bench.py, dist_eval.sh):
a prompt is a file ``ID.txt``; its pictures are one ``ID.png``, 4 of them as a 2 x 2 grid row by
row, of which ``--resolution`` is a picture's side and ``--pic-num`` says how many there are. The
scorer takes every file of the folder for a picture. It writes a line "path, score of each picture,
their mean" for each prompt, then categories and "DPG-Bench score: N", a mean over prompts in
percent.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from benchmarks.scorer.base import (
    Benchmark,
    Item,
    Manifest,
    Score,
    check_items,
    encode_image,
)
from benchmarks.scorer.main import main

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

CATEGORY = re.compile(r"^\t(.+): ([\d.]+)$")


class DPG(Benchmark):
    name, title, images, suffix = "dpg", "DPG-Bench", 4, ".txt"
    most, square = 4, True

    def items(self, prompts: Path) -> list[Item]:
        if not prompts.is_dir():
            raise ValueError(f"{prompts}: expected the folder of prompts, ID.txt each")
        items = []
        for path in sorted(prompts.glob("*.txt")):
            if "." in path.stem:  # the scorer looks prompts up by what stands before the first dot
                raise ValueError(f"{path}: a prompt's name may have no dot in it")
            items.append(Item(path.stem, path.read_text("utf-8").strip()))
        return check_items(items, prompts)

    def paths(self, name: str, images: int) -> list[str]:
        return [f"{name}.png"]

    def encode(self, pictures: list[Picture]) -> list[bytes]:
        side = pictures[0].width
        across, down = min(len(pictures), 2), (len(pictures) + 1) // 2
        grid = Image.new("RGB", (side * across, side * down))
        for j, picture in enumerate(pictures):
            grid.paste(picture, (side * (j % 2), side * (j // 2)))
        return [encode_image(grid, "PNG")]

    def how(self, out: Path, manifest: Manifest) -> str:
        images = shlex.quote(str(out / "images" / manifest.method))
        scores = shlex.quote(str(self.score_file(out, manifest.method)))
        return (f"accelerate launch dpg_bench/compute_dpg_bench.py --image-root-path {images} "
                f"--resolution {manifest.size[0]} --pic-num {manifest.images} --res-path {scores} "
                "--vqa-model mplug")

    def read(self, file: Path, manifest: Manifest) -> dict[str, Score]:
        text = file.read_text("utf-8")
        total = re.findall(r"^DPG-Bench score: ([\d.]+)", text, re.MULTILINE)
        if len(total) != 1:
            raise ValueError(f"{file}: {len(total)} lines \"DPG-Bench score: N\", expected one: "
                             "let the scorer finish")
        means: dict[str, float] = {}
        for line in text.split("\nModel: ")[0].splitlines():
            path, *numbers = line.rsplit(", ", manifest.images + 1)
            try:
                values = [float(n) for n in numbers]
            except ValueError:
                values = []
            name = Path(path).name.split(".")[0]
            if len(values) != manifest.images + 1 or name in means:
                raise ValueError(f"{file}: expected a path, {manifest.images} scores and their "
                                 f"mean once for each prompt, got {line!r}")
            means[name] = values[-1]
        lacking = sorted(set(manifest.items) - set(means))
        if lacking or set(means) - set(manifest.items):
            raise ValueError(f"{file}: scores of {len(means)} prompts, {len(lacking)} of "
                             f"{len(manifest.items)} are not among them"
                             + (f" (the first is {lacking[0]})" if lacking else ""))
        own = 100 * sum(means.values()) / len(means)
        if abs(own - float(total[0])) > 1e-3:
            raise ValueError(f"{file}: says {total[0]}, its lines give {own:.4f}")
        first_level = text.partition("L1 category scores:\n")[2].partition("L2 category")[0]
        found = [CATEGORY.match(line) for line in first_level.splitlines()]
        return {**{m[1]: Score(float(m[2])) for m in found if m},
                "DPG-Bench score": Score(float(total[0]))}


if __name__ == "__main__":
    raise SystemExit(main(DPG()))

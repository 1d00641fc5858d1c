"""HPS v2: a model of human preference, on prompts of four styles.

    python -m benchmarks.hpsv2 write benchmark/ OUT --plan toprovar --budget 0.3
    python -m benchmarks.hpsv2 read OUT --json hpsv2.json

Formats, from https://github.com/tgxs002/HPSv2 (README.md, hpsv2/evaluation.py): prompts are lists
of strings in ``anime.json``, ``concept-art.json``, ``paintings.json``, ``photo.json``; picture i of
a style is ``STYLE/0000i.jpg``; everything beside is taken for a style. ``hpsv2.evaluate`` prints
"METHOD STYLE mean deviation" for each style, where the deviation is one over groups of 80 prompts,
and "METHOD Average mean" of all. It goes on without pictures that are missing, and says so.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.scorer.base import (
    Benchmark,
    Item,
    Manifest,
    Score,
    check_items,
    encode_image,
    read_json,
)
from benchmarks.scorer.main import main

if TYPE_CHECKING:
    from PIL import Image

STYLES = ("anime", "concept-art", "paintings", "photo")
QUALITY = 95
"""Of the JPEG files that the scorer wants."""


class HPSv2(Benchmark):
    name, title, images, suffix = "hpsv2", "HPS v2", 1, ".txt"
    most = 1

    def items(self, prompts: Path) -> list[Item]:
        items = []
        for style in STYLES:
            texts = read_json(prompts / f"{style}.json")
            if not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
                raise ValueError(f"{prompts / style}.json: expected a list of prompts")
            items += [Item(f"{style}/{i:05d}", text) for i, text in enumerate(texts)]
        return check_items(items, prompts)

    def paths(self, name: str, images: int) -> list[str]:
        return [f"{name}.jpg"]

    def encode(self, pictures: list[Image.Image]) -> list[bytes]:
        return [encode_image(picture, "JPEG", quality=QUALITY) for picture in pictures]

    def how(self, out: Path, manifest: Manifest) -> str:
        images = str(out / "images" / manifest.method)
        call = f"import hpsv2; hpsv2.evaluate({images!r}, hps_version='v2.1')"
        scores = shlex.quote(str(self.score_file(out, manifest.method)))
        return f"python -c {shlex.quote(call)} | tee {scores}"

    def read(self, file: Path, manifest: Manifest) -> dict[str, Score]:
        text = file.read_text("utf-8")
        lost = text.count("missing image for prompt")
        if lost:
            raise ValueError(f"{file}: the scorer missed {lost} pictures: 'write' all prompts that "
                             "the scorer has (no --limit)")
        pattern = rf"^{re.escape(manifest.method)}\s+({'|'.join(STYLES)}|Average)\s+([\d.]+)"
        found = dict(re.findall(pattern, text, re.MULTILINE))
        wanted = [*dict.fromkeys(name.split("/")[0] for name in manifest.items), "Average"]
        lacking = [style for style in wanted if style not in found]
        if lacking:
            raise ValueError(f"{file}: no line \"{manifest.method} {lacking[0]} N\": not the whole "
                             "output of hpsv2.evaluate for this method")
        return {style: Score(float(found[style])) for style in wanted}


if __name__ == "__main__":
    raise SystemExit(main(HPSv2()))

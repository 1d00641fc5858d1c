"""Validates the measures of ``benchmarks.quality`` on composed scenes with known damage.

    python -m benchmarks.validate_measures --atlas FILE [--second FILE] --folder out/measures

Every measure is taken on the same scenes, damaged in five ways at four strengths: a measure is good
for what it falls with. Writes ``measures.json``, a plot and a sheet of 60 pictures with the verdict
of the detail task, to be checked by eye.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.corruptions import KINDS, STEPS, damaged
from benchmarks.machine import describe
from benchmarks.quality import jobs
from benchmarks.quality_detail import Detail
from benchmarks.quality_measures import Measures
from toprovar.devices import choose_device
from toprovar.evaluation.compositional.report import summarise
from toprovar.evaluation.distribution import frechet_distance, precision_recall
from toprovar.evaluation.metrics import sharpness, ssim
from toprovar.evaluation.parts import Limits
from toprovar.files import replace_file
from training.data.asked import scenes_for
from training.data.compose import compose
from training.data.scene_batch import SceneBatch
from training.journal import save_sheet

SHOWN = 60
_PIECE = 16
_PLOTTED = (("score", "compositional score"), ("parts", "parts there"),
            ("whole_objects", "objects with all parts"), ("frechet_whole", "Fréchet, judge"),
            ("frechet_fine", "Fréchet, judge, fine"), ("frechet_second", "Fréchet, second"),
            ("precision", "precision"), ("recall", "recall"), ("seen", "judge's distance"),
            ("ssim", "SSIM"))


class Validation:
    """Scenes, their features, and the features of other scenes for the same prompts."""

    def __init__(self, measures: Measures, pictures: int, detailed: int, size: int) -> None:
        assert measures.atlas is not None and measures.detail is not None
        self.measures, self.size = measures, size
        self.prompts = [prompt for prompt, _ in jobs(100, 4)][:pictures]
        self.detailed = min(detailed, len(self.prompts))
        self.scenes = scenes_for(self.prompts, 50_001)
        self.real = self._features(scenes_for(self.prompts, 50_002), "blur", 0)

    def _pieces(self, scenes: SceneBatch, kind: str, strength: int):
        """Clean and damaged pictures, a few at a time, so that 1024 pixels fit."""
        assert self.measures.atlas is not None
        for start in range(0, len(scenes), _PIECE):
            piece = scenes[start : start + _PIECE]
            clean = compose(piece, self.measures.atlas, self.size, as_float=True)
            yield start, clean, damaged(kind, clean, piece, strength)

    def _features(self, scenes: SceneBatch, kind: str, strength: int) -> dict[str, Tensor]:
        parts = [self.measures.spaces(made) for _, _, made in self._pieces(scenes, kind, strength)]
        return {space: torch.cat([torch.from_numpy(p[space]) for p in parts]).float()
                for space in parts[0]}

    def figures(self, kind: str, strength: int) -> dict[str, float]:
        """All measures of one kind of damage at one strength."""
        results, details, likeness = [], [], {"ssim": [], "sharpness": [], "seen": []}
        for start, clean, made in self._pieces(self.scenes, kind, strength):
            prompts = self.prompts[start : start + len(made)]
            results += self.measures.judge.results(made, prompts)
            if start < self.detailed:
                few = self.detailed - start
                details += self.details(made[:few], prompts[:few])
                likeness["ssim"].append(ssim(made[:few], clean[:few]))
                likeness["sharpness"].append(sharpness(made[:few], clean[:few]))
                likeness["seen"].append(self.measures.features.distance(made[:few], clean[:few]))
        spaces = self._features(self.scenes, kind, strength)
        found = {"score": summarise(results).overall,
                 "parts": _share(details, "present", "parts"),
                 "whole_objects": _share(details, "whole", "objects"),
                 **{n: torch.cat(v).double().mean().item() for n, v in likeness.items()},
                 **{f"frechet_{n}": frechet_distance(self.real[n], v) for n, v in spaces.items()}}
        space = "second" if "second" in spaces else "whole"
        cover = precision_recall(self.real[space], spaces[space])
        return {n: round(v, 5) for n, v in
                {**found, "precision": cover.precision, "recall": cover.recall}.items()}

    def details(self, pictures: Tensor, prompts: list[Any]) -> list[Detail]:
        assert self.measures.detail is not None
        seen = self.measures.judge.detect(pictures)
        return self.measures.detail.look(pictures, prompts, seen)

    def sheet(self, path: Path) -> None:
        """Pictures of all kinds and strengths with what the detail task misses."""
        pictures, captions, turns = [], [], [("clean", 0)]
        turns += [(kind, strength) for strength in range(1, STEPS + 1) for kind in KINDS]
        for number in range(min(SHOWN, len(self.prompts))):
            kind, strength = turns[number % len(turns)]
            row = torch.tensor([number])
            assert self.measures.atlas is not None
            clean = compose(self.scenes[row], self.measures.atlas, self.size, as_float=True)
            made = clean if kind == "clean" else damaged(kind, clean, self.scenes[row], strength)
            one = self.details(made, [self.prompts[number]])[0]
            missed = [n.split(": ")[1] for n, e in one.errors.items() if e > Limits().error]
            captions.append(f"{kind} {strength}: {one.present}/{one.parts}"
                            + (f" no {', '.join(missed)}" if missed else ""))
            pictures.append(torch.nn.functional.interpolate(made, (256, 256), mode="area")[0])
        save_sheet(path, torch.stack(pictures) * 2 - 1, 10, captions)


def _share(details: list[Detail], part: str, whole: str) -> float:
    total = sum(getattr(d, whole) for d in details)
    return sum(getattr(d, part) for d in details) / total if total else float("nan")


def plot(found: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Every measure against the strength, a line for each kind of damage."""
    from matplotlib.figure import Figure

    shown = [(key, title) for key, title in _PLOTTED if key in found[KINDS[0]][0]]
    columns = 5
    figure = Figure(figsize=(15, 3 * -(-len(shown) // columns)), layout="constrained")
    axes = figure.subplots(-(-len(shown) // columns), columns, squeeze=False).flatten()
    for axis, (key, title) in zip(axes, shown, strict=False):
        for kind in KINDS:
            axis.plot(range(STEPS + 1), [row[key] for row in found[kind]], "o-", ms=3, label=kind)
        axis.set_title(title, fontsize=10)
        axis.set_xticks(range(STEPS + 1))
        axis.grid(alpha=0.3)
    for axis in axes[len(shown) :]:
        axis.set_visible(False)
    axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=100)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--folder", type=Path, required=True)
    add("--atlas", type=Path, required=True)
    add("--second", type=Path)
    add("--pictures", type=int, default=960, help="for scores and distances of whole sets")
    add("--detailed", type=int, default=240, help="for details and likeness")
    add("--size", type=int, default=512, help="side of the pictures")
    add("--device", default="auto")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    device = choose_device(given.device)
    own = Validation(Measures.load(device, given.atlas, given.second), given.pictures,
                     given.detailed, given.size)
    clean = own.figures("blur", 0)
    found = {kind: [clean] for kind in KINDS}
    for kind in KINDS:
        for strength in range(1, STEPS + 1):
            found[kind].append(own.figures(kind, strength))
            print(kind, strength, found[kind][-1], flush=True)
    result = {"command": "python -m benchmarks.validate_measures " + " ".join(sys.argv[1:]),
              "machine": describe(device), "pictures": len(own.prompts),
              "detailed": own.detailed, "size": given.size, "damage": found}
    replace_file(given.folder / "measures.json", (json.dumps(result, indent=1) + "\n").encode())
    plot(found, given.folder / "measures.png")
    own.sheet(given.folder / "sheet.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

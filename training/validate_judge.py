"""Validate the judge: ``python -m training.validate_judge --judge FILE --vae BUNDLE --out DIR``.

Writes ``validation.json`` and sheets of pictures with detections. ``--samples DIR`` (pictures
named in order and ``prompts.json``) adds the agreement with the template matcher and a sheet on a
generator's own pictures; nothing is ever tuned on them.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from toprovar.evaluation.compositional.decode import Detection
from toprovar.evaluation.compositional.judge import Judge, resized
from toprovar.evaluation.compositional.prompts import PromptSpec, bundled_prompts, read_prompts
from toprovar.evaluation.compositional.report import summarise
from toprovar.evaluation.compositional.tasks import decide
from training.command import ATLAS
from training.data.atlas import SpriteAtlas
from training.data.files import replacing
from training.journal import save_sheet
from training.judge import validation as v
from training.judge.augment import Augment, AugmentSettings
from training.judge.draw import drawn
from training.judge.pictures import VALIDATION_SEED, Pictures, composed, mixed
from training.judge.prompt_set import prompt_set
from training.judge.reconstruct import Reconstructor, grids_of, random_flips
from training.judge.spoilt import SpoiltAtlas
from training.judge.stream import Mixture
from training.judge.template import TemplateMatcher
from training.train_judge import load_reconstructor

log = logging.getLogger(__name__)
_BY_EYE = 50
_SPOILT = 8


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--judge", type=Path, help="judge.safetensors; the bundled one by default")
    parser.add_argument("--out", type=Path, default=Path("training/runs/judge_validation"))
    parser.add_argument("--atlas", type=Path, default=ATLAS)
    parser.add_argument("--vae", type=Path, help="bundle of the autoencoder, for the ceiling")
    parser.add_argument("--samples", type=Path, help="a generator's pictures and prompts.json")
    parser.add_argument("--pictures", type=int, default=2000, help="held-out pictures of each kind")
    parser.add_argument("--compared", type=int, default=300,
                        help="pictures shown to the template matcher as well; 0 for none")
    parser.add_argument("--every", type=int, default=1, help="use every n-th prompt only")
    parser.add_argument("--device", help="cuda or cpu; whichever there is by default")
    given = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    device = torch.device(given.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    given.out.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    found = _Validation(given, device).run()
    found["seconds"] = round(time.monotonic() - begin, 1)
    with replacing(given.out / "validation.json") as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


class _Validation:
    """All parts of the validation in turn."""

    def __init__(self, given: argparse.Namespace, device: torch.device) -> None:
        self.given, self.device = given, device
        self.judge = Judge.load(given.judge, device)
        self.atlas = SpriteAtlas.load(given.atlas, device)
        compute = "bfloat16" if device.type == "cuda" else "float32"
        self.rebuild = load_reconstructor(given.vae, device, compute)
        self.matcher = TemplateMatcher(self.atlas)

    def run(self) -> dict[str, Any]:
        judge, asked = self.judge, self._asked()
        clean = asked.kinds["clean"]
        found: dict[str, Any] = {
            "thresholds": asdict(judge.thresholds), "about": judge.about,
            "held_out": v.held_out(judge, self._held_out()),
        }
        log.info("held out: %s", {k: r["f1"] for k, r in found["held_out"].items()})
        found["prompt_set"] = {
            kind: v.split_scores(judge, pictures.images, asked.prompts)
            for kind, pictures in asked.kinds.items()
        }
        log.info("prompts: %s", {k: r["all"]["overall"] for k, r in found["prompt_set"].items()})
        counting = [i for i, p in enumerate(asked.prompts) if p.task == "counting"]
        found["count_confusion"] = {
            kind: v.count_confusion(
                judge,
                Pictures(pictures.images[counting], [pictures.truths[i] for i in counting]),
                [asked.prompts[i] for i in counting],
            )
            for kind, pictures in asked.kinds.items()
        }
        found |= v.wrong_prompts(judge, clean, asked.prompts)
        found["corruption"] = v.corruption(judge, clean.images, asked.prompts)
        log.info("corruption: %s", found["corruption"])
        self._by_eye(asked)
        found["template_matcher"] = self._compared(asked)
        if self.given.samples:
            found["samples"] = self._samples()
        return found

    def _asked(self) -> v.PromptPictures:
        """Pictures for the shipped prompts."""
        scenes, prompts = prompt_set()
        if prompts != bundled_prompts():
            raise ValueError(
                "the shipped prompt set is not that of this catalogue; write it again with "
                "`python -m training.judge.prompt_set`"
            )
        rows = torch.arange(0, len(prompts), self.given.every)
        clean = composed(scenes[rows], self.atlas, self.judge.detector.config.input_size)
        kinds = {"clean": clean}
        if self.rebuild is not None:
            kinds["reconstructed"] = Pictures(self.rebuild(clean.images), clean.truths)
            kinds["ragged"] = Pictures(self._ragged(self.rebuild, clean.images), clean.truths)
        return v.PromptPictures([prompts[int(i)] for i in rows], kinds)

    def _ragged(self, rebuild: Reconstructor, images: Tensor) -> Tensor:
        """Reconstructions with wrong bits at the fine scales."""
        generator = torch.Generator(self.device).manual_seed(VALIDATION_SEED)
        flips = random_flips(len(images), len(grids_of(images.shape[-1])), generator)
        fixed = torch.rand(len(images), generator=generator, device=self.device) < 0.5
        return rebuild(images, flips, fixed, generator)

    def _held_out(self) -> dict[str, Pictures]:
        sprites = SpoiltAtlas(self.atlas, _SPOILT, VALIDATION_SEED)
        count, size = self.given.pictures, self.judge.detector.config.input_size
        augment = Augment(AugmentSettings(), self.rebuild)
        captioned = Mixture(captioned=0.5, heldout=0.5, junk=0.0)
        return {
            "captioned": mixed(count, VALIDATION_SEED, sprites, None, captioned, size),
            "free": mixed(count, VALIDATION_SEED + 1, sprites, None, Mixture(0.0, 0.0), size),
            "spoilt": mixed(count, VALIDATION_SEED + 2, sprites, augment, Mixture(), size),
        }

    def _compared(self, asked: v.PromptPictures) -> dict[str, Any] | None:
        """Agreement on verdicts, with half of the prompts wrong."""
        if not self.given.compared:
            return None
        step = max(1, len(asked.prompts) // self.given.compared)
        prompts = v.half_wrong(asked.prompts[::step])
        out = {}
        for kind, pictures in asked.kinds.items():
            images = pictures.images[::step]
            theirs = v.matched(self.matcher.detect, images)
            out[kind] = v.agreement(self.judge.detect(images), theirs, prompts)
            log.info("template matcher, %s: %s", kind, out[kind])
        return out

    def _by_eye(self, asked: v.PromptPictures) -> None:
        """Pictures of all kinds and tasks, half of them with a wrong prompt."""
        prompts = v.half_wrong(asked.prompts)
        rows = np.random.default_rng(VALIDATION_SEED).choice(
            len(prompts), min(_BY_EYE, len(prompts)), replace=False
        )
        kinds = list(asked.kinds.values())
        images = [kinds[n % len(kinds)].images[int(row)] for n, row in enumerate(rows)]
        self._sheet("by_eye.png", torch.stack(images), [prompts[int(row)] for row in rows])

    def _sheet(self, name: str, images: Tensor, prompts: list[PromptSpec]) -> None:
        found = self.judge.detect(images)
        limits = self.judge.thresholds
        verdicts = [decide(p, f, limits) for p, f in zip(prompts, found, strict=True)]
        captions = [
            f"{'PASS' if verdict.passed else 'FAIL'} {_wish(prompt)}. {verdict.reason}"
            for prompt, verdict in zip(prompts, verdicts, strict=True)
        ]
        small = resized(images, self.judge.detector.config.input_size)
        save_sheet(self.given.out / name, drawn(small, found), 10, captions)

    def _samples(self) -> dict[str, Any]:
        """The template matcher's opinion of a generator's pictures, beside the judge's."""
        prompts = read_prompts(self.given.samples / "prompts.json")
        paths = pictures_in(self.given.samples)
        if len(paths) != len(prompts):
            raise ValueError(f"{len(paths)} pictures but {len(prompts)} prompts in {paths[:1]}")
        images = torch.stack([_read(path) for path in paths]).to(self.device)
        mine: list[list[Detection]] = self.judge.detect(images)
        self._sheet("samples_by_eye.png", images[:_BY_EYE], prompts[:_BY_EYE])
        theirs = v.matched(self.matcher.detect, images.float() / 255.0)
        return {
            "score": summarise(self.judge.results(images, prompts)).to_json(),
            "template_matcher": v.agreement(mine, theirs, prompts),
        }


def _wish(prompt: PromptSpec) -> str:
    """What is asked, from the objects, since a changed prompt's text is the old one."""
    parts = [
        " ".join(str(part) for part in (o.count, o.colour, o.cls) if part) for o in prompt.objects
    ]
    return f" {prompt.relation or '+'} ".join(parts)


def pictures_in(folder: Path) -> list[Path]:
    """Its pictures in the order of their names."""
    return sorted(p for p in folder.iterdir() if p.suffix in (".png", ".jpg"))


def _read(path: Path) -> Tensor:
    with Image.open(path) as image:
        return torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1)


if __name__ == "__main__":
    raise SystemExit(main())

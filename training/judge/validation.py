"""The judge's validation: figures on composed pictures whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from toprovar.evaluation.compositional.decode import Detection
from toprovar.evaluation.compositional.judge import Judge
from toprovar.evaluation.compositional.prompts import PromptSpec
from toprovar.evaluation.compositional.report import Report, Result, summarise
from toprovar.evaluation.compositional.tasks import decide
from training.judge.corrupt import KINDS, LEVELS
from training.judge.near_miss import near_misses, shuffled
from training.judge.pictures import VALIDATION_SEED, Pictures
from training.judge.truth import Truth, tally

_SLACK = 0.005
_MOST = 5
Detect = Callable[[Tensor], list[list[Detection]]]


@dataclass(frozen=True)
class PromptPictures:
    """Pictures that fulfil a prompt set, as drawn and from the autoencoder."""

    prompts: list[PromptSpec]
    kinds: dict[str, Pictures]


def held_out(judge: Judge, kinds: dict[str, Pictures]) -> dict[str, Any]:
    """Precision, recall and colours on pictures of any mixture, and by class."""
    out = {}
    for name, pictures in kinds.items():
        found = tally(judge.detect(pictures.images), pictures.truths)
        out[name] = {**found.summary(), "pictures": len(pictures.truths)}
        out[name]["classes"] = found.by_class()
    return out


def count_confusion(
    judge: Judge, pictures: Pictures, prompts: Sequence[PromptSpec]
) -> list[list[int]]:
    """Rows: how many objects of the asked class there are (0-5); columns: how many were seen."""
    table = [[0] * (_MOST + 1) for _ in range(_MOST + 1)]
    for prompt, truths, found in zip(
        prompts, pictures.truths, judge.detect(pictures.images), strict=True
    ):
        cls = prompt.objects[0].cls
        there = sum(truth.seen.cls == cls for truth in truths)
        seen = sum(d.cls == cls for d in found)
        table[min(there, _MOST)][min(seen, _MOST)] += 1
    return table


def split_scores(
    judge: Judge, images: Tensor, prompts: Sequence[PromptSpec]
) -> dict[str, Any]:
    """Reports of the whole set and of each split."""
    results = judge.results(images, prompts)
    out = {"all": summarise(results).to_json()}
    for split in ("seen", "heldout"):
        rows = [r for r in results if r.prompt.split == split]
        if rows:
            out[split] = summarise(rows).to_json()
    return out


def oracle(truths: Sequence[Sequence[Truth]], prompts: Sequence[PromptSpec]) -> Report:
    """The score that flawless detections would get."""
    results = []
    for prompt, there in zip(prompts, truths, strict=True):
        seen = [truth.seen for truth in there]
        results.append(Result(prompt, tuple(seen), decide(prompt, seen)))
    return summarise(results)


def wrong_prompts(judge: Judge, pictures: Pictures, prompts: list[PromptSpec]) -> dict[str, Any]:
    """Shuffled prompts against what chance gives, and prompts with one thing changed."""
    mixed = shuffled(prompts, VALIDATION_SEED)
    near = near_misses(prompts, VALIDATION_SEED)
    return {
        "shuffled": judge.score(pictures.images, mixed).to_json(),
        "shuffled_chance": oracle(pictures.truths, mixed).to_json(),
        "near_miss": judge.score(pictures.images, near).to_json(),
        "near_miss_chance": oracle(pictures.truths, near).to_json(),
    }


def corruption(judge: Judge, images: Tensor, prompts: Sequence[PromptSpec]) -> dict[str, Any]:
    """The score by level of corruption, and whether it falls all the way."""
    out: dict[str, Any] = {}
    for name, spoil in KINDS.items():
        curve = [
            judge.score(spoil(images, level, VALIDATION_SEED), prompts).overall
            for level in range(LEVELS + 1)
        ]
        falls = all(b <= a + _SLACK for a, b in pairwise(curve))
        out[name] = {
            "scores": [round(value, 4) for value in curve],
            "monotone": falls and curve[-1] < 0.5 * curve[0],
        }
    return out


def agreement(
    mine: Sequence[Sequence[Detection]],
    theirs: Sequence[Sequence[Detection]],
    prompts: Sequence[PromptSpec],
) -> dict[str, Any]:
    """Cohen's kappa between the verdicts on two judges' detections."""
    a = [decide(p, d).passed for p, d in zip(prompts, mine, strict=True)]
    b = [decide(p, d).passed for p, d in zip(prompts, theirs, strict=True)]
    both = sum(x and y for x, y in zip(a, b, strict=True))
    neither = sum(not x and not y for x, y in zip(a, b, strict=True))
    return {
        "kappa": round(kappa(a, b), 4), "pictures": len(a), "both_pass": both,
        "neither_passes": neither, "judge_alone": sum(a) - both, "other_alone": sum(b) - both,
    }


def kappa(a: Sequence[bool], b: Sequence[bool]) -> float:
    """Agreement beyond chance; 1 where both always say the same one thing."""
    if len(a) != len(b) or not a:
        raise ValueError(f"two verdicts a picture are needed, got {len(a)} and {len(b)}")
    total = len(a)
    same = sum(x == y for x, y in zip(a, b, strict=True)) / total
    one, two = sum(a) / total, sum(b) / total
    chance = one * two + (1 - one) * (1 - two)
    return 1.0 if chance == 1.0 else (same - chance) / (1 - chance)


def half_wrong(prompts: Sequence[PromptSpec]) -> list[PromptSpec]:
    """Every second prompt with one thing changed, so that both verdicts are common."""
    near = near_misses(prompts, VALIDATION_SEED + 1)
    return [wrong if i % 2 else right for i, (right, wrong) in
            enumerate(zip(prompts, near, strict=True))]


def matched(detect: Detect, images: Tensor, piece: int = 16) -> list[list[Detection]]:
    """Detections piece by piece."""
    return [found for part in torch.split(images, piece) for found in detect(part)]

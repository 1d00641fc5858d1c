"""Decision models from what was measured.

A picture's label is the policy that saves most and stays like the dense picture. How well a
decision does is measured on prompts that were held out of its fit.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from ....sparsity.strategies.skipvar.decision import (
    CLASSES,
    DecisionModel,
    Regression,
    constant,
)
from .measure import PolicySamples

FOLDS = 5
FEWEST = 20
"""Pictures that a regression is fitted to, at least, before all are taken in place of those it is
asked about."""


def fit_decision(samples: PolicySamples, target: float, model: str | None = None,
                 provenance: dict[str, Any] | None = None) -> DecisionModel:
    """Fit to what was measured.

    The branch regression is asked only about pictures that no scale may be left out of, and is
    fitted to those. Are there fewer than ``FEWEST``, it is fitted to all, and the provenance
    says so. A label that is the only one becomes a constant.
    """
    if not 0 < target <= 1:
        raise ValueError(f"target must be above 0 and at most 1, got {target}")
    skip, uncond, own = _fit(samples, target, range(len(samples.prompts)))
    labels = (label(samples.skip_ssim, target), label(samples.uncond_ssim, target))
    asked = [i for i, n in enumerate(labels[0]) if n == 0]
    return DecisionModel(
        skip=skip, uncond=uncond, pn=samples.schedule.pn, model=model, target_ssim=target,
        provenance={
            "made": datetime.now(timezone.utc).date().isoformat(),
            "versions": {name: version(name) for name in ("scikit-learn", "torch")},
            "schedule": samples.schedule.to_json(),
            "params": {k: v for k, v in samples.params.items() if k != "schedule"},
            "prompts": len(set(samples.prompts)), "pictures": len(samples.prompts),
            "seeds": sorted(set(samples.seeds)),
            "skip_labels": _counts(labels[0]),
            "uncond_labels": _counts([labels[1][i] for i in asked]),
            "uncond_fitted_to": "pictures that no scale may be left out of" if own else
                f"all pictures: of those that no scale may be left out of there are {len(asked)}",
            "mean_ssim": {
                **{f"skip{n}": _mean(samples.skip_ssim[:, n]) for n in CLASSES[1:]},
                **{f"uncond{n}": _mean(samples.uncond_ssim[:, n]) for n in CLASSES[1:]},
            },
            "held_out": _held_out(samples, target, labels),
            **(provenance or {}),
        },
    )


def label(likeness: Tensor, target: float) -> list[int]:
    """The largest class of each picture that keeps the target; [P, 4] SSIM by class."""
    return [max(n for n in CLASSES if n == 0 or row[n] >= target) for row in likeness.tolist()]


def fit_regression(features: Tensor, labels: Sequence[int]) -> Regression:
    """A multinomial logistic regression on standardised features [P, 2]."""
    if len(set(labels)) == 1:
        return constant(labels[0])
    from sklearn.linear_model import LogisticRegression

    mean, scale = features.mean(0), features.std(0, correction=0)
    scale = torch.where(scale > 0, scale, 1.0)
    found = LogisticRegression(max_iter=1000).fit(((features - mean) / scale).numpy(), labels)
    return Regression(
        classes=tuple(int(n) for n in found.classes_),
        coef=tuple(tuple(float(c) for c in row) for row in found.coef_),
        intercept=tuple(float(b) for b in found.intercept_),
        scaler_mean=tuple(mean.tolist()), scaler_scale=tuple(scale.tolist()),
    )


def _fit(samples: PolicySamples, target: float, chosen: Sequence[int]
         ) -> tuple[Regression, Regression, bool]:
    """Both regressions on some of the pictures, and whether the second was fitted to its own."""
    skips = label(samples.skip_ssim, target)
    unconds = label(samples.uncond_ssim, target)
    own = [i for i in chosen if skips[i] == 0]
    enough = len(own) >= min(FEWEST, len(chosen))
    branch = own if enough else list(chosen)
    return (
        fit_regression(samples.features[list(chosen)], [skips[i] for i in chosen]),
        fit_regression(samples.features[branch], [unconds[i] for i in branch]),
        enough,
    )


def _held_out(samples: PolicySamples, target: float, labels: tuple[list[int], list[int]]
              ) -> dict[str, Any] | None:
    """How decisions do on prompts they were not fitted to; None for a single prompt."""
    prompts = sorted(set(samples.prompts))
    random.Random(0).shuffle(prompts)
    folds = min(FOLDS, len(prompts))
    if folds < 2:
        return None
    fold = {p: i % folds for i, p in enumerate(prompts)}
    right = {"skip": [], "uncond": []}
    likeness, skipped, dropped = [], [], []
    for k in range(folds):
        fitted = [i for i, p in enumerate(samples.prompts) if fold[p] != k]
        skip_model, uncond_model, _ = _fit(samples, target, fitted)
        decide = DecisionModel(skip=skip_model, uncond=uncond_model)
        for i in (i for i, p in enumerate(samples.prompts) if fold[p] == k):
            x = samples.features[i].tolist()
            right["skip"].append(skip_model.decide(x) == labels[0][i])
            if labels[0][i] == 0:
                right["uncond"].append(uncond_model.decide(x) == labels[1][i])
            skip, uncond = decide.decide(x)
            row = samples.skip_ssim[i, skip] if skip else samples.uncond_ssim[i, uncond]
            likeness.append(float(row))
            skipped.append(skip)
            if skip == 0:
                dropped.append(uncond)
    asked = [n for n, s in zip(labels[1], labels[0], strict=True) if s == 0]
    return {
        "folds": folds,
        "skip_accuracy": _share(right["skip"]),
        "skip_commonest": max(Counter(labels[0]).values()) / len(labels[0]),
        "uncond_accuracy": _share(right["uncond"]),
        "uncond_commonest": max(Counter(asked).values()) / len(asked) if asked else None,
        "mean_ssim": sum(likeness) / len(likeness),
        "at_target": _share([s >= target for s in likeness]),
        "skip": _counts(skipped), "uncond": _counts(dropped),
    }


def _counts(labels: Sequence[int]) -> dict[str, int]:
    return {str(n): labels.count(n) for n in CLASSES}


def _share(right: Sequence[bool]) -> float | None:
    return sum(right) / len(right) if right else None


def _mean(values: Tensor) -> float:
    return float(values.mean())

"""What each of SkipVAR's policies does to pictures of a model: features and likeness to dense."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ....evaluation.metrics import ssim
from ....pipeline import InfinityPipeline
from ....sampling.run import ScaleState
from ....schedules import ScaleSchedule
from ....sparsity.strategies.skipvar.decision import CLASSES
from ....sparsity.strategies.skipvar.features import measure_features, small_codes, vae_decoder
from ....sparsity.strategies.skipvar.policies import (
    MIN_SCALES,
    NEW,
    OLD,
    feature_size,
    skipvar_plan,
)
from ...measure import OnImage, batches


@dataclass(frozen=True)
class PolicySamples:
    """P pictures.

    Attributes:
        prompts, seeds: of each.
        features: [P, 2] float64, diff_hf and hf_ratio.
        skip_ssim: [P, 4] float64, SSIM to the dense picture when the last 0 to 3 scales are not
            run; uncond_ssim: when they run without guidance.
        params: of the runs.
    """

    schedule: ScaleSchedule
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    features: Tensor
    skip_ssim: Tensor
    uncond_ssim: Tensor
    params: dict[str, Any]


def runs_of(images: int) -> int:
    """Runs that :func:`measure_policies` makes."""
    return images * len(CLASSES)


def measure_policies(
    pipeline: InfinityPipeline, prompts: Sequence[str], seeds: Sequence[int],
    schedule: ScaleSchedule, *, batch: int = 1, on_images: OnImage | None = None, **how: Any,
) -> PolicySamples:
    """Draw each prompt with each seed: dense, which also gives the pictures of earlier stops, and
    without guidance on the last one to three scales.

    Args:
        batch: images at once.
        how: anything else the pipeline takes.
    """
    if len(schedule) < MIN_SCALES:
        raise ValueError(f"SkipVAR decides nothing on {len(schedule)} scales, it needs "
                         f"{MIN_SCALES}")
    jobs = [(p, s) for p in prompts for s in seeds]
    if not jobs:
        raise ValueError("give at least one prompt and one seed")
    shape, decode = pipeline.transformer.shape, vae_decoder(pipeline.vae)
    size, count = feature_size(shape, schedule), len(schedule)
    features, skips, unconds, params = [], [], [], {}
    for part in batches(jobs, batch):
        texts, own_seeds = [p for p, _ in part], [s for _, s in part]
        sums: dict[int, Tensor] = {}

        def take(state: ScaleState, sums: dict[int, Tensor] = sums) -> None:
            if state.index >= count - OLD:
                sums[state.index] = state.summed_codes.clone()

        done = pipeline(texts, seed=own_seeds, schedule=schedule, on_scale=take, output_type="pt",
                        **how)
        dense, params = _unit(done.images), done.report.params
        features += [f.values() for f in measure_features(
            small_codes(sums[count - OLD], size), small_codes(sums[count - NEW], size), decode,
        )]
        same = torch.ones(len(part), dtype=torch.float64)
        with torch.inference_mode():
            # A run that stops early ends with the sum that the dense run had there.
            stops = [torch.cat([decode(one) for one in sums[count - 1 - skip].split(1)])
                     for skip in CLASSES[1:]]
        skips.append(torch.stack([same, *(ssim(_unit((s + 1) / 2), dense) for s in stops)], 1))
        row = [same]
        for uncond in CLASSES[1:]:
            plan = skipvar_plan(shape, schedule, uncond=uncond)
            images = pipeline(texts, seed=own_seeds, schedule=schedule, plan=plan,
                              output_type="pt", **how).images
            row.append(ssim(_unit(images), dense))
        unconds.append(torch.stack(row, 1))
        if on_images:
            on_images(runs_of(len(part)))
    return PolicySamples(
        schedule, tuple(p for p, _ in jobs), tuple(s for _, s in jobs),
        torch.tensor(features, dtype=torch.float64), torch.cat(skips), torch.cat(unconds), params,
    )


def _unit(images: Tensor) -> Tensor:
    return images.clamp(0, 1).float().cpu()

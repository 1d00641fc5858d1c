"""Pictures from captions with the training forward, to look at during a run.

Every scale runs all scales before it again: simple, and quick enough for a sheet.
"""

from __future__ import annotations

import torch
from torch import Tensor

from toprovar.models.latents import bits_to_codes, resize_codes, tokens_to_grid
from toprovar.models.transformer import InfinityTransformer
from toprovar.schedules import ScaleSchedule
from training.forward import Layout, condition, forward


@torch.no_grad()
def sample_codes(
    model: InfinityTransformer, features: Tensor, mask: Tensor, schedule: ScaleSchedule,
    cfg: float, tau: float, generator: torch.Generator,
) -> Tensor:
    """Summed codes [B, d, H, W] for captions' features [B, L, Ct] and mask [B, L].

    Args:
        cfg: guidance on the logits; 1 = none.
        tau: temperature.
    """
    count, longest = mask.shape
    guided = cfg != 1
    if guided:
        null = model.null_text[:longest].float().expand_as(features)
        features, mask = torch.cat([features, null]), torch.cat([mask, mask])
    text = condition(model, features, mask)
    device, channels = features.device, model.shape.bits_per_token
    layout = Layout.of(schedule, len(schedule), model.shape.head_dim, device)
    full = schedule.grids[-1]
    summed = torch.zeros(count, channels, *full, device=device)
    inputs = torch.zeros(count, 0, channels, device=device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    for index, grid in enumerate(schedule.grids):
        fed = torch.cat([inputs, inputs]) if guided else inputs
        start, end = layout.spans[index]
        logits = forward(model, text, fed, layout.first(index + 1), dtype)[:, start:end] / tau
        if guided:
            logits = cfg * logits[:count] + (1 - cfg) * logits[count:]
        pairs = logits.unflatten(-1, (-1, 2))
        chance = (pairs[..., 1] - pairs[..., 0]).sigmoid()
        bits = torch.rand(chance.shape, generator=generator, device=device) < chance
        code = tokens_to_grid(bits_to_codes(bits, channels), grid)
        summed = summed + resize_codes(code, full)
        if index + 1 < len(schedule):
            following = resize_codes(summed, schedule.grids[index + 1])
            inputs = torch.cat([inputs, following.flatten(2).transpose(1, 2)], dim=1)
    return summed

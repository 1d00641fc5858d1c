"""Loss functions of both models."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from training.forward import Layout
from training.settings import ReconstructionLoss


def token_weights(layout: Layout, power: float) -> Tensor:
    """Weight of each token, [N], adding up to 1: its scale's token count to minus ``power``."""
    weights = [
        torch.full((end - start,), float(end - start) ** -power) for start, end in layout.spans
    ]
    joined = torch.cat(weights)
    return (joined / joined.sum()).to(layout.levels.device)


def bit_loss(logits: Tensor, bits: Tensor) -> Tensor:
    """Cross-entropy of every bit, averaged over bits and pictures: [N]; see ``bit_losses``."""
    return bit_losses(logits, bits).mean((0, 2))


def bit_losses(logits: Tensor, bits: Tensor) -> Tensor:
    """Cross-entropy of every bit: [B, N, d].

    Args:
        logits: [B, N, 2 d]; entry 2 j + c is the logit of bit j being c.
        bits: uint8 [B, N, d].
    """
    pairs = logits.float().unflatten(-1, (-1, 2))
    margin = pairs[..., 1] - pairs[..., 0]
    return F.binary_cross_entropy_with_logits(margin, bits.float(), reduction="none")


def per_scale(values: Tensor, layout: Layout) -> Tensor:
    """Mean of per-token values over each scale: [N] -> [scales]."""
    return torch.stack([values[start:end].mean() for start, end in layout.spans])


def peakedness(features: Tensor) -> Tensor:
    """Mean square over squared mean of a feature map's energy at its places: [B].

    1 where all places of [B, C, h, w] have the same energy; h x w where one place has all of it.
    """
    energy = features.float().square().mean(1).flatten(1)
    return energy.square().mean(1) / energy.mean(1).square().clamp_min(1e-12)


def spikes(levels: Sequence[Tensor], usual: float = 4.0) -> Tensor:
    """How far feature maps [B, C, h, w] are more peaked than ``usual``, in log units, averaged.

    Group norm divides by the energy of the whole map. A network can get round that with one place
    of enormous energy, where nothing is drawn, and pays with a blot there: the "droplets" that
    StyleGAN2 (Karras et al. 2020) found in networks with instance norm.
    """
    over = [F.relu(peakedness(level).div(usual).clamp_min(1e-6).log()) for level in levels]
    return torch.stack([one.mean() for one in over]).mean()


def reconstruction_loss(
    made: Tensor, wanted: Tensor, commitment: Tensor, weights: ReconstructionLoss
) -> Tensor:
    """L1, L2 and the L1 of horizontal and vertical differences, plus the commitment."""
    error = (made - wanted).float()
    sideways = (error[..., 1:] - error[..., :-1]).abs().mean()
    upright = (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    return (
        weights.l1 * error.abs().mean()
        + weights.l2 * error.square().mean()
        + weights.gradient * (sideways + upright)
        + weights.commitment * commitment
    )

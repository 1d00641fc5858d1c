"""Which parameter goes to which optimiser."""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch
from torch import nn

from training.muon import BatchedMuon
from training.settings import OptimizerSettings

_KERNEL = re.compile(r"\.(conv[12]|shortcut)\.weight$")  # of an autoencoder's residual blocks
_FUSED = {"to_qkv.weight": 3, "to_kv.weight": 2}
# Tables and modulation are not matrices that act on activations: decay would only shrink them.
_NO_DECAY = (
    "null_text",
    "start",
    "level_embed",
    "modulation",
    "shared.weight",
    "relative_attention_bias",
    "text_pool.query",
)


def build_optimizers(
    named: Iterable[tuple[str, nn.Parameter]], settings: OptimizerSettings
) -> list[torch.optim.Optimizer]:
    """AdamW for all, or Muon for the matrices and kernels of blocks and AdamW for the others."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    matrices: list[nn.Parameter] = []
    fused: list[int] = []
    for name, p in named:
        matrix = p.ndim == 2 and ".blocks." in f".{name}"
        if settings.name == "muon" and (matrix or _KERNEL.search(name)):
            matrices.append(p)
            fused.append(next((n for end, n in _FUSED.items() if name.endswith(end)), 1))
        elif p.ndim >= 2 and not any(part in name for part in _NO_DECAY):
            decayed.append(p)
        else:
            plain.append(p)
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    used = [group for group in groups if group["params"]]
    first = (decayed + plain)[0]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            used,
            lr=settings.lr,
            betas=settings.betas,
            eps=1e-8,
            fused=first.device.type == "cuda",
        )
    ]
    if matrices:
        optimizers.append(
            BatchedMuon(
                matrices, fused, settings.muon_lr, settings.muon_momentum, settings.weight_decay
            )
        )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["full_lr"] = group["lr"]
    return optimizers


def set_lr(optimizers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """Every group's learning rate becomes ``factor`` times its full one."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["full_lr"] * factor

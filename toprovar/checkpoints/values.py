"""Weights that are no numbers: pictures of them are black or grey, and nothing says why."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from .errors import CheckpointError

_SAMPLE = 1 << 14


def require_finite(path: Path, key: str, tensor: Tensor, whole: bool = False) -> None:
    """Refuses a tensor with NaN or infinite values.

    Args:
        whole: look at all of it, rather than at both ends if it is large: a mapped file is not to
            be read whole for this.

    Raises:
        CheckpointError: names the file and the tensor.
    """
    values = tensor.detach().flatten() if tensor.is_contiguous() else tensor.detach().reshape(-1)
    parts = [values] if whole or len(values) <= 2 * _SAMPLE else [values[:_SAMPLE],
                                                                 values[-_SAMPLE:]]
    for part in parts:
        if len(part) and not torch.isfinite(torch.stack(torch.aminmax(part))).all():
            raise CheckpointError(path, "holds values that are no numbers (NaN or infinite): the "
                                  "training went wrong or the file is damaged", key=key)

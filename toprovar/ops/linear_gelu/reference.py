"""Linear layer and tanh-GELU, one after the other."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """gelu(x W^T + b): x [..., C], weight [F, C], bias [F] -> [..., F]."""
    return F.gelu(F.linear(x, weight, bias), approximate="tanh")

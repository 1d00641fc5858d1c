"""Linear layer with tanh-GELU at its end.

The hidden layer of the feed-forward is the widest tensor of the model. On a CPU oneDNN applies
bias and GELU while a tile of the product is still in the cache, which saves two passes over it;
elsewhere GELU runs in place.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


@lru_cache(maxsize=1)
def why_not_fused() -> str | None:
    """None when oneDNN's fused layer can be used here, else the reason."""
    if not torch.backends.mkldnn.is_available():
        return "this torch has no oneDNN"
    try:
        found = _fused(torch.ones(2, 4), torch.ones(3, 4), torch.ones(3))
    except (AttributeError, RuntimeError) as error:
        return f"oneDNN's fused layer does not work here: {error}"
    wanted = F.gelu(torch.full((2, 3), 5.0), approximate="tanh")
    return None if torch.allclose(found, wanted) else "oneDNN's fused layer gives other values"


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """gelu(x W^T + b): x [..., C], weight [F, C], bias [F] -> [..., F]."""
    if x.device.type == "cpu" and x.dtype != torch.float16 and why_not_fused() is None:
        return _fused(x, weight, bias)
    return torch.ops.aten.gelu_(F.linear(x, weight, bias), approximate="tanh")


def _fused(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "tanh")

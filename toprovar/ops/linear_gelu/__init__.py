"""Linear layer with tanh-GELU at its end.

The hidden layer of the feed-forward is the widest tensor of the model. oneDNN on a CPU and cuBLASLt
on an NVIDIA GPU apply bias and GELU while a tile of the product is still on the chip, which saves
two passes over it; elsewhere GELU runs in place.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..registry import Backend, Call, Constraints, Op, register


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


_EPILOGUES: dict[tuple[torch.device, torch.dtype], str | None] = {}


def why_no_epilogue(device: torch.device, dtype: torch.dtype) -> str | None:
    """None when torch's fused product gives tanh-GELU on ``device``, else the reason.

    Tried once (which waits for the device), then remembered. While a CUDA graph is being recorded
    it cannot be tried: run once before.
    """
    key = (device, dtype)
    if key not in _EPILOGUES:
        if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            return "not tried before this CUDA graph"
        _EPILOGUES[key] = _try_epilogue(device, dtype)
    return _EPILOGUES[key]


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor, *, backend: str = "auto") -> Tensor:
    """gelu(x W^T + b): x [..., C], weight [F, C], bias [F] -> [..., F]."""
    call = Call(x.device, x.dtype, x.shape[-1])
    return LINEAR_GELU.choose(call, backend).function(x, weight, bias)


def _onednn(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return _fused(x, weight, bias) if why_not_fused() is None else _plain(x, weight, bias)


def _cublaslt(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if why_no_epilogue(x.device, x.dtype) is not None:
        return _plain(x, weight, bias)
    return _epilogue(x, weight, bias)


def _plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.ops.aten.gelu_(F.linear(x, weight, bias), approximate="tanh")


def _fused(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "tanh")


def _epilogue(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    rows = x.reshape(-1, x.shape[-1])
    y = torch.ops.aten._addmm_activation(bias, rows, weight.t(), use_gelu=True)
    return y.unflatten(0, x.shape[:-1])


def _try_epilogue(device: torch.device, dtype: torch.dtype) -> str | None:
    x = torch.linspace(-3.5, -1, 1024, device=device)[:, None].repeat(1, 16).to(dtype) / 16
    weight = torch.ones(16, 16, device=device, dtype=dtype)
    bias = torch.zeros(16, device=device, dtype=dtype)
    try:
        found = _epilogue(x, weight, bias).double()
    except (AttributeError, RuntimeError) as error:
        return f"torch's fused product does not work here: {error}"
    exact = x.double().sum(-1, keepdim=True).expand(-1, 16)
    tanh, erf = (F.gelu(exact, approximate=kind) for kind in ("tanh", "none"))
    # The two forms differ by 5e-4 at most: which one was meant shows where values are small, in
    # the mean over many values.
    apart = tanh - erf
    share = ((found - erf) * apart).sum() / apart.square().sum()
    if bool((found - tanh).abs().max() > 2e-3) or not bool((share - 1).abs() < 0.5):
        return "torch's fused product gives other values"
    return None


LINEAR_GELU = register(Op(
    "linear_gelu", "Linear layer with tanh-GELU at its end.",
    backends=(
        Backend("cublaslt", lambda: _cublaslt, Constraints(
            devices=("cuda",), dtypes=frozenset({torch.bfloat16, torch.float16}),
            capability=(8, 0),
        )),
        Backend("onednn", lambda: _onednn, Constraints(
            devices=("cpu",), dtypes=frozenset({torch.float32, torch.bfloat16}),
        )),
        Backend("torch", lambda: _plain),
    ),
    size_name="channel count",
))

"""Norms and linear layers of fused blocks, in the blocks' dtype or on 8-bit rows."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ..models.blocks import Block
from ..models.fp8 import Fp8Linear, is_quantized
from ..models.transformer import InfinityTransformer
from ..ops.adaln import gated_add_norm, gated_add_norm_fp8, modulated_norm, modulated_norm_fp8
from ..ops.fp8_linear import fp8_linear, gelu_quantize, quantize_rows
from ..ops.linear_gelu import linear_gelu
from .prefetch import WeightPrefetch

Activations = Tensor | tuple[Tensor, Tensor]
"""[R, n, C] tokens as a linear layer takes them: in the blocks' dtype, or e4m3 and factors."""


class Layers:
    """How the layers of one transformer are run. Arguments are those of the operations.

    Args:
        prefetch: is told of every product; None = nobody is.
    """

    def __init__(self, transformer: InfinityTransformer, prefetch: WeightPrefetch | None = None
                 ) -> None:
        self.prefetch = prefetch
        self.dtype = transformer.compute_dtype
        self.narrow = is_quantized(transformer)

    def norm(self, x: Tensor, gain: Tensor, shift: Tensor, index: Tensor | None) -> Activations:
        if self.narrow:
            return modulated_norm_fp8(x, gain, shift, index)
        return modulated_norm(x, gain, shift, self.dtype, index)

    def add_norm(
        self, x: Tensor, update: Tensor, gate: Tensor | None, gain: Tensor, shift: Tensor,
        index: Tensor | None,
    ) -> Activations:
        if self.narrow:
            return gated_add_norm_fp8(x, update, gate, gain, shift, index)
        return gated_add_norm(x, update, gate, gain, shift, self.dtype, index)

    def linear(self, y: Activations, layer: Any, bias: Tensor | None = None) -> Tensor:
        """[R, n, F] of the blocks' dtype.

        Args:
            layer: ``nn.Linear`` or ``Fp8Linear``.
            bias: in place of the layer's own.
        """
        bias = layer.bias if bias is None else bias
        if isinstance(layer, Fp8Linear):
            given = quantize_rows(y) if isinstance(y, Tensor) else y
            found = fp8_linear(*given, layer.rounded, bias, self.dtype)
        else:
            assert isinstance(y, Tensor)
            found = F.linear(y, layer.weight, bias)
        self._done(layer, found)
        return found

    def feed(self, y: Activations, block: Block) -> Tensor:
        """The feed-forward of normalised tokens."""
        first, second = block.ffn.fc1, block.ffn.fc2
        if self.narrow:
            return self.linear(gelu_quantize(self.linear(y, first)), second)
        assert isinstance(y, Tensor)
        hidden = linear_gelu(y, first.weight, first.bias)
        self._done(first, hidden)
        return self.linear(hidden, second)

    def _done(self, layer: Any, result: Tensor) -> None:
        if self.prefetch is not None:
            self.prefetch.after(layer, result.shape[0] * result.shape[1])

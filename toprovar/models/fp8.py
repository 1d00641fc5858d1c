"""Blocks whose large matrices are kept as e4m3 numbers: half the memory, twice the products.

An option for GPUs from compute capability 8.9 on. docs/research/gpu.md says what it does to
pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ..ops.fp8 import E4M3
from ..ops.fp8_linear import Fp8Weight
from .transformer import InfinityTransformer

LAYERS = ("self_attn.to_qkv", "self_attn.proj", "cross_attn.to_q", "cross_attn.proj", "ffn.fc1",
          "ffn.fc2")
"""Linear layers of a block that are rounded. Text keys and values are not: they are made once a
picture."""


class Fp8Linear(nn.Module):
    """A linear layer rounded row by row; it holds weights only, ``ops.fp8_linear`` runs it.

    Attributes:
        weight: [F, C] e4m3; scale: [F, 1] float32; bias: [F] or None.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        rounded = Fp8Weight.of(layer.weight.detach())
        self.weight = nn.Parameter(rounded.data, requires_grad=False)
        self.register_buffer("scale", rounded.scale)
        self.bias = layer.bias

    @property
    def rounded(self) -> Fp8Weight:
        scale: Any = self.scale
        return Fp8Weight(self.weight, scale)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Fp8Linear:
        """Moves to devices, but keeps the rounded numbers as they are when others are cast."""
        def moved(tensor: Tensor) -> Tensor:
            new = fn(tensor)
            fixed = tensor.dtype == E4M3 or tensor is self.scale
            return tensor.to(new.device) if fixed and new.dtype != tensor.dtype else new

        return super()._apply(moved, recurse)


def quantize_blocks(transformer: InfinityTransformer) -> InfinityTransformer:
    """Round the blocks of a transformer, in place and for good: loading it again undoes it.

    Such a model runs with fused blocks only, and is not saved.
    """
    for layer in range(transformer.shape.depth):
        block = transformer.block(layer)
        for name in LAYERS:
            parent, _, child = name.rpartition(".")
            found = block.get_submodule(name)
            if isinstance(found, nn.Linear):
                setattr(block.get_submodule(parent), child, Fp8Linear(found))
    return transformer


def is_quantized(transformer: InfinityTransformer) -> bool:
    return isinstance(transformer.block(0).ffn.fc1, Fp8Linear)

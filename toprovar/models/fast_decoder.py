"""The autoencoder's decoder for GPUs in half precision: the same picture with fewer passes.

The plain decoder (``autoencoder.Decoder``) is the definition. Here

- pictures are channels last, as tensor cores want them, and so are the weights, copied once;
- convolutions leave their bias to the pass that reads their result next: the statistics of the
  next norm, or the residual's sum, which makes the next norm's statistics as well
  (``ops.group_norm_silu``);
- norm and SiLU are one pass, in the memory of the convolution's result where nobody needs that;
- an upsampling and its convolution are one 2 x 2 convolution of the small picture with four times
  the channels, whose rearranging is part of the next norm's pass
  (``ops.group_norm_silu.phases``): 4/9 of the operations.

docs/research/kernels.md counts operations and bytes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.ahead import Launch
from ..ops.group_norm_silu import (
    Affine,
    Norm,
    affine_silu,
    norm_affine,
    phase_weight,
    sum_affine_,
    sum_channels_,
)

if TYPE_CHECKING:
    from .autoencoder import Decoder, Level, ResidualBlock

STANDIN = 16
"""Side of the pictures that kernels are compiled with."""
OUTPUT_MULTIPLE = 8
"""cuDNN's tensor-core kernels want output channels in eights; the last convolution gets zeros."""


@dataclass(frozen=True, eq=False)
class Convolution:
    """A weight in the decoder's dtype, channels last, and the float32 bias that others add."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Without the bias; of the input's size (with 2 x 2 weights one more each way)."""
        return F.conv2d(x, self.weight, padding=self.weight.shape[-1] // 2)


@dataclass(frozen=True, eq=False)
class Block:
    """A residual block and what follows it.

    Attributes:
        shortcut: 1 x 1 convolution of the residual, where widths differ.
        offset: what the sum lacks: the biases of the second convolution and of the shortcut.
        upsample: the convolution at the level's end, in phases.
        then: the norm that reads the sum, or what the upsampling makes of it.
    """

    conv1: Convolution
    norm2: Norm
    conv2: Convolution
    shortcut: Convolution | None
    offset: Tensor
    upsample: Convolution | None
    then: Norm


class FastDecoder:
    """A decoder's weights, prepared; a call has the plain decoder's values, rounded less often.

    Args:
        decoder: the plain one, whose weights are copied.
        dtype: of weights and pictures.
        backend: of the operations.
    """

    def __init__(self, decoder: Decoder, dtype: torch.dtype, backend: str = "auto") -> None:
        self.dtype, self.backend = dtype, backend
        self.channels = decoder.conv_out.out_channels
        with torch.no_grad():
            self.conv_in = self._convolution(decoder.conv_in)
            self.conv_out = self._convolution(decoder.conv_out, pad=True)
            blocks: list[tuple[Any, Any]] = [(block, None) for block in decoder.mid]
            for level in reversed(cast("list[Level]", list(decoder.levels))):
                blocks += [(block, None) for block in level.blocks]
                blocks[-1] = (blocks[-1][0], level.step)  # the step follows the last block
            norms = [*(_norm(block.norm1) for block, _ in blocks), _norm(decoder.norm_out)]
            self.first = norms[0]
            self.blocks = [self._block(block, step, then)
                           for (block, step), then in zip(blocks, norms[1:], strict=True)]

    def __call__(self, codes: Tensor) -> Tensor:
        """[B, d, h, w] -> [B, image channels, H, W] float32, as the plain decoder's."""
        with fixed_algorithms():
            codes = codes.to(self.dtype).contiguous(memory_format=torch.channels_last)
            x, affine = sum_affine_(self.conv_in(codes), None, self.conv_in.bias, self.first,
                                    backend=self.backend)
            for block in self.blocks:
                h = block.conv1(affine_silu(x, affine, backend=self.backend))
                affine = norm_affine(h, block.norm2, block.conv1.bias, backend=self.backend)
                h = block.conv2(affine_silu(h, affine, in_place=True, backend=self.backend))
                if block.shortcut is not None:
                    x = block.shortcut(x)
                if block.upsample is None:
                    x, affine = sum_affine_(h, x, block.offset, block.then, backend=self.backend)
                    del h  # before the next convolution, not after it
                    continue
                x = sum_channels_(h, x, block.offset, backend=self.backend)
                del h
                x, affine = sum_affine_(block.upsample(x), None, block.upsample.bias, block.then,
                                        phases=True, backend=self.backend)
            x = self.conv_out(affine_silu(x, affine, in_place=True, backend=self.backend))
        return x[:, : self.channels].float() + self.conv_out.bias[:, None, None]

    @property
    def nbytes(self) -> int:
        """Of the weights."""
        convolutions = [self.conv_in, self.conv_out]
        for block in self.blocks:
            convolutions += [c for c in (block.conv1, block.conv2, block.shortcut, block.upsample)
                             if c is not None]
        return sum(c.weight.nbytes + c.bias.nbytes for c in convolutions)

    def launches(self) -> list[Launch]:
        """Calls on small pictures that launch every kernel of a decode; see ``ops.ahead``."""
        device = self.conv_in.weight.device

        def picture(channels: int, side: int = STANDIN) -> Tensor:
            return torch.zeros(1, channels, side, side, dtype=self.dtype, device=device).to(
                memory_format=torch.channels_last)

        def norm(channels: int) -> Affine:
            return Affine(*torch.zeros(2, 1, channels, device=device))

        how: dict[str, Any] = {"backend": self.backend}
        found: dict[Hashable, Launch] = {}
        width, start = self.first.channels, self.conv_in.bias
        found["begin", width] = lambda: sum_affine_(picture(width), None, start, self.first, **how)
        for block in self.blocks:
            given, own, after = block.conv1.weight.shape[1], block.conv1.weight.shape[0], block.then
            for c in (given, own, after.channels):
                found["apply", c] = lambda c=c: affine_silu(picture(c), norm(c), **how)
            found["norm", own] = lambda c=own, b=block: norm_affine(
                picture(c), b.norm2, b.conv1.bias, **how)
            up = block.upsample
            if up is None:
                found["sum", own] = lambda c=own, b=block: sum_affine_(
                    picture(c), picture(c), b.offset, b.then, **how)
                continue
            found["add", own] = lambda c=own, b=block: sum_channels_(
                picture(c), picture(c), b.offset, **how)
            found["phases", after.channels] = lambda u=up, n=after: sum_affine_(
                picture(4 * n.channels, STANDIN + 1), None, u.bias, n, phases=True, **how)
        return list(found.values())

    def _block(self, block: ResidualBlock, step: nn.Module | None, then: Norm) -> Block:
        conv2 = self._convolution(block.conv2)
        shortcut, offset = None, conv2.bias
        if isinstance(block.shortcut, nn.Conv2d):
            shortcut = self._convolution(block.shortcut)
            offset = offset + shortcut.bias
        upsample = None
        if step is not None:
            conv: Any = step.conv
            upsample = Convolution(self._weight(phase_weight(conv.weight)), _float(conv.bias))
        return Block(self._convolution(block.conv1), _norm(block.norm2), conv2, shortcut, offset,
                     upsample, then)

    def _convolution(self, conv: nn.Conv2d, pad: bool = False) -> Convolution:
        assert conv.bias is not None
        weight = conv.weight
        if pad:
            more = -weight.shape[0] % OUTPUT_MULTIPLE
            weight = F.pad(weight, (0, 0, 0, 0, 0, 0, 0, more))
        return Convolution(self._weight(weight), _float(conv.bias))

    def _weight(self, weight: Tensor) -> Tensor:
        return torch.empty_like(
            weight, dtype=self.dtype, memory_format=torch.channels_last, requires_grad=False
        ).copy_(weight)


def _float(parameter: Tensor) -> Tensor:
    return parameter.detach().float().clone()


def _norm(norm: nn.GroupNorm) -> Norm:
    return Norm(_float(norm.weight), _float(norm.bias), norm.num_groups, norm.eps)


@contextmanager
def fixed_algorithms() -> Iterator[None]:
    """cuDNN goes by its rules, and by algorithms whose sums have one order: the same picture in
    every process. On an H100, letting it time its algorithms gained nothing (17.2 ms either way).
    """
    cudnn: Any = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before


def scratch_bytes(widths: tuple[int, ...], height: int, width: int, itemsize: int) -> int:
    """Most bytes of intermediates that a decode of ``height`` x ``width`` pixels (behind the stem)
    holds at once: in the finest level's first block its input, normed, and the convolution of it,
    or later three pictures of the finest width."""
    before = widths[min(1, len(widths) - 1)]
    return max(2 * before + widths[0], 4 * widths[0]) * height * width * itemsize

"""Blocks whose memory is lent out while the transformer rests, and that come back where they were.

Decoding a picture takes more memory than a scale does, for a few milliseconds. On a small card it
gets that of some blocks, whose weights are also in host memory and are copied back afterwards: once
a picture, where a streamed block is copied once a scale. All lent matrices lie in one piece, which
torch's allocator gives out again at the same address when nothing else is left in it, so that
recorded scales still find them; where it does not, the recordings are made again.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

from ..host_memory import HostBuffer, Packing
from ..models.blocks import Block
from ..models.fp8 import LAYERS
from ..models.transformer import InfinityTransformer
from .streaming import matrices


class LentBlocks:
    """Blocks of one transformer that are on ``device``, and can be away for a while. Use
    :func:`lend_blocks`.

    Attributes:
        layers: numbers of the blocks; away: whether their memory is lent out now.
    """

    def __init__(self, transformer: InfinityTransformer, device: torch.device,
                 layers: Sequence[int]) -> None:
        self.device, self.layers, self.away = device, tuple(layers), False
        self._blocks = [transformer.block(layer) for layer in self.layers]
        self._packing = Packing.of(self._matrices())
        self._host = HostBuffer(self._packing.nbytes, device)
        self._at_home = self._packing.views(self._host.data)
        for name, weight in self._matrices().items():
            self._at_home[name].copy_(weight)
        self._put(self._at_home)  # off the device, so that one piece may take their room
        self._piece: Tensor | None = None
        self.come_back()

    @property
    def nbytes(self) -> int:
        return self._packing.nbytes

    def go(self) -> None:
        """Leave the device."""
        self._put(self._at_home)
        self._piece, self.away = None, True

    def come_back(self) -> None:
        """Return; what is launched on the current stream from now on finds the weights."""
        self._piece = torch.empty(self.nbytes, dtype=torch.uint8, device=self.device)
        self._piece.copy_(self._host.data, non_blocking=True)
        self._put(self._packing.views(self._piece))
        self.away = False

    def _matrices(self) -> dict[str, Tensor]:
        return {f"{layer} {name}": weight for layer, block in zip(self.layers, self._blocks,
                                                                  strict=True)
                for name, weight in matrices(block, LAYERS).items()}

    def _put(self, views: dict[str, Tensor]) -> None:
        for layer, block in zip(self.layers, self._blocks, strict=True):
            for name in LAYERS:
                block.get_parameter(f"{name}.weight").data = views[f"{layer} {name}"]


_LENT: weakref.WeakKeyDictionary[InfinityTransformer, LentBlocks] = weakref.WeakKeyDictionary()


def lend_blocks(transformer: InfinityTransformer, device: torch.device, layers: Sequence[int]
                ) -> LentBlocks | None:
    """Make blocks that are on ``device`` ones that can be lent. Calling it again changes which.

    Args:
        layers: their numbers; none = all blocks are ordinary.
    """
    forget_lent(transformer)
    if not layers:
        return None
    lent = _LENT[transformer] = LentBlocks(transformer, device, layers)
    return lent


def lent_of(transformer: InfinityTransformer) -> LentBlocks | None:
    return _LENT.get(transformer)


def forget_lent(transformer: InfinityTransformer) -> None:
    """The blocks are ordinary ones again, where they are."""
    _LENT.pop(transformer, None)


def lent_bytes(block: Block) -> int:
    """What lending a block gives, in one piece with others of its kind."""
    return Packing.of(matrices(block, LAYERS)).nbytes

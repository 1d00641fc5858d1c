"""Brings the weights of the next product into the GPU's cache while small kernels run.

Only in recorded scales of few tokens: there a launch beside the others costs the host nothing, and
the time goes into reading weights. The requests run on a stream of their own, which forks from the
recorded one behind each product and joins it at the scale's end.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ..models.blocks import Block
from ..models.transformer import InfinityTransformer
from ..ops.weights_ahead import weights_ahead

MOST_TOKENS = 512
"""Of all rows: with more, products are bound by arithmetic."""


class WeightPrefetch:
    """The weights that follow each product of the blocks that a scale runs."""

    def __init__(self, transformer: InfinityTransformer) -> None:
        self.transformer = transformer
        self.device = transformer.null_text.device
        self._after: dict[nn.Module, Tensor] = {}
        self._side: torch.cuda.Stream | None = None
        self._forked = False

    def begin(self, layers: Sequence[int]) -> None:
        """The blocks that run next, in order; nothing is asked for outside a recording."""
        self._after, self._forked = {}, False
        if self.recording():
            order = [one for layer in layers for one in products(self.transformer.block(layer))]
            self._after = {one: after.weight for one, after in pairwise(order)}

    def after(self, product: nn.Module, tokens: int) -> None:
        """A product was launched; ask for the weights of the next one.

        Args:
            tokens: of all rows.
        """
        following = self._after.get(product)
        if following is not None and tokens <= MOST_TOKENS:
            self._forked = True
            self.ask(following)

    def end(self) -> None:
        """The blocks are done: what was asked for is waited for, as a recording has one end."""
        if self._forked and self._side is not None:
            torch.cuda.current_stream(self.device).wait_stream(self._side)
        self._after, self._forked = {}, False

    def recording(self) -> bool:
        """Whether a CUDA graph is being recorded."""
        return self.device.type == "cuda" and torch.cuda.is_current_stream_capturing()

    def ask(self, weight: Tensor) -> None:
        """Ask for a weight beside what was launched up to now."""
        if self._side is None:
            self._side = torch.cuda.Stream(self.device)
        self._side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._side):
            weights_ahead(weight)


def products(block: Block) -> list[Any]:
    """The linear layers of a block in the order in which ``FusedRunner`` runs them."""
    return [block.self_attn.to_qkv, block.self_attn.proj, block.cross_attn.to_q,
            block.cross_attn.proj, block.ffn.fc1, block.ffn.fc2]

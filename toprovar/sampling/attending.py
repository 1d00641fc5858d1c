"""How a block's self-attention is to be run, beside the plain way."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ..ops.sparse_attention import WindowBlocks
from ..sparsity.key_selection import Hold, select_keys
from .bounded_cache import BoundedCache
from .source_cache import AnyCache, SourceCache


class Attending(NamedTuple):
    """What is wanted of one block's self-attention.

    Attributes:
        measure: take its entropy.
        hold: the keys that a bounded cache is to hold afterwards; None = all.
        window: the keys that it sees; None = all in the cache.
    """

    measure: bool = False
    hold: Hold | None = None
    window: WindowBlocks | None = None


PLAIN = Attending()


def put_away(cache: AnyCache, layer: int, q: Tensor, k: Tensor, hold: Hold | None) -> None:
    """After a layer's attention: its keys go where they wait for later scales.

    Args:
        q: [R, H, n, D] queries; k: [R, H, M, D] all keys.
        hold: what a bounded cache holds of the scales' keys; None = all.
    """
    if isinstance(cache, SourceCache):
        k = k[:, :, cache.ahead(layer) :]  # the source's own are held in any case
    if isinstance(cache, BoundedCache) or (isinstance(cache, SourceCache) and cache.bounded):
        cache.hold(layer, q.shape[0], None if hold is None else select_keys(q, k, hold))
    else:
        cache.put_away(layer, q.shape[2], q.shape[0])

"""Windowed attention in plain torch: the keys of some tiles are gathered, and those tiles are the
batch of an attention without a mask. Where most keys are seen, gathering costs more than it saves:
there attention runs over all keys, with those that are not seen masked.

Tiles with as many queries and as many keys go together, so nothing is padded and the products are
those of seen_share. Memory beside the results: GATHERED values of queries, keys and outputs, or one
tile's if that is more.
"""

from __future__ import annotations

from torch import Tensor

from ..attention import attention
from ..attention_entropy.portable import attend as attend_all
from ..windows import seen_share
from .blocks import WindowBlocks

GATHERED = {"cpu": 1 << 22}
"""Keys' values gathered at once: what the CPU's caches nearly hold; elsewhere what keeps a GPU
busy."""
OTHER_DEVICES = 1 << 26
WORTH = 0.45
"""Share of keys seen up to which gathering takes less time than a mask: on two CPU cores (sides 16
to 48, 64 and 128 channels) it takes 0.4 to 0.7 times dense attention at a share of 0.2 to 0.3 and
1.0 to 1.4 times at 0.33 to 0.47, a mask 1.0 to 1.4 times at any."""


def attend(
    q: Tensor, k: Tensor, v: Tensor, scale: float, blocks: WindowBlocks, out: Tensor,
    found: Tensor | None, mean: bool,
) -> None:
    """See reference.attend."""
    if found is None and seen_share(blocks.grids, blocks.window) > WORTH:
        out.copy_(attention(q, k, v, scale, blocks.mask, many_shapes=True))
        return
    budget = GATHERED.get(q.device.type, OTHER_DEVICES)
    for queries, keys in blocks.groups:
        together = max(1, budget // (q.shape[1] * q.shape[3] * keys.shape[1]))
        for places, seen in zip(queries.split(together), keys.split(together), strict=True):
            for row in range(q.shape[0]):
                _attend_tiles(q[row], k[row], v[row], scale, places, seen, out[row],
                              None if found is None else found[row], mean)


def _attend_tiles(
    q: Tensor, k: Tensor, v: Tensor, scale: float, places: Tensor, seen: Tensor, out: Tensor,
    found: Tensor | None, mean: bool,
) -> None:
    """Some tiles of one row.

    Args:
        q, out: [H, N, D]; k, v: [H, M, D].
        places: [tiles, n] and seen: [tiles, m] int64, their queries and keys.
        found: [H, N] float32, or [N]; None = not wanted.
    """
    part, keys, values = _gathered(q, places), _gathered(k, seen), _gathered(v, seen)
    tokens = places.flatten()
    if found is None:
        result = attention(part, keys, values, scale, many_shapes=True)
    else:
        result = part.new_empty(part.shape)
        shape = (part.shape[0], part.shape[2]) if mean else part.shape[:3]
        entropy = found.new_empty(shape)
        attend_all(part, keys, values, scale, result, entropy, None, mean)
        flat = entropy.flatten() if mean else entropy.transpose(0, 1).flatten(1)
        found.index_copy_(-1, tokens, flat)
    out.index_copy_(1, tokens, result.transpose(0, 1).flatten(1, 2))


def _gathered(x: Tensor, index: Tensor) -> Tensor:
    """Tokens ``index`` [tiles, n] of ``x`` [H, N, D]: [tiles, H, n, D]."""
    taken = x.index_select(1, index.flatten())
    return taken.view(x.shape[0], *index.shape, x.shape[2]).transpose(0, 1)

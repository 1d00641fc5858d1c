"""Attention with its entropy in plain torch, a tile of queries at a time.

A tile's logits x are made once, in float32. With the row's maximum m taken off, the sums
l = sum e^(x-m) and t = sum e^(x-m) (x-m) give H = log l - t / l without cancellation, whatever the
size of the logits. (Two calls of scaled_dot_product_attention, one with V = K, give the same
numbers as LSE - scale q.(PK); that subtracts two numbers of the size of the logits, costs a second
softmax and is useless in half precision, where PK is rounded.)

Memory beside the results: two tiles, a few MiB, whatever N and M are.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

TILE_ELEMENTS = {"cpu": 1 << 20}
"""Logits in a tile: what the CPU's caches hold; elsewhere what keeps a GPU busy."""
OTHER_DEVICES = 1 << 25
MOST_ROWS = 128


def attend(
    q: Tensor, k: Tensor, v: Tensor | None, scale: float, out: Tensor | None, found: Tensor,
    heads: tuple[int, ...] | None, mean: bool,
) -> None:
    """See reference.attend."""
    batch, all_heads, n, _ = q.shape
    m = k.shape[2]
    wanted = tuple(range(all_heads)) if heads is None else heads
    slot = {head: i for i, head in enumerate(wanted)}
    per_head = found if not mean else found.new_empty(batch, len(wanted), n)
    rows, together = _tile(q.device.type, n, m)
    scratch = torch.empty(2, together * rows * m, dtype=torch.float32, device=q.device)
    for b in range(batch):
        for first, last in _runs(wanted if out is None else tuple(range(all_heads)), together):
            keys = _wide(k[b, first:last]).transpose(1, 2)
            values = None if v is None else _wide(v[b, first:last])
            for start in range(0, n, rows):
                queries = q[b, first:last, start : start + rows]
                shape = (*queries.shape[:2], m)
                size = shape[0] * shape[1] * m
                x, p = (s[:size].view(shape) for s in scratch)
                torch.bmm(_wide(queries), keys, out=x)
                if scale != 1:
                    x.mul_(scale)
                x.sub_(x.amax(-1, keepdim=True))
                torch.exp(x, out=p)
                total = p.sum(-1)
                weighted = torch.linalg.vecdot(p, x)
                entropy = total.log().sub_(weighted.div_(total)).clamp_min_(0)
                for head in range(first, last):
                    if head in slot:
                        per_head[b, slot[head], start : start + rows] = entropy[head - first]
                if out is not None and values is not None:
                    out[b, first:last, start : start + rows] = (
                        torch.bmm(p, values).div_(total[..., None])
                    )
    if mean:
        torch.mean(per_head, 1, out=found)


def _wide(x: Tensor) -> Tensor:
    """Half precision in float32, so that products and sums are not rounded."""
    return x if x.dtype == torch.float32 else x.float()


def _tile(device: str, n: int, m: int) -> tuple[int, int]:
    """Queries in a tile, and heads at once: at least one of each, however many keys there are."""
    budget = TILE_ELEMENTS.get(device, OTHER_DEVICES)
    rows = max(1, min(MOST_ROWS if device == "cpu" else 1024, n, budget // m))
    return rows, max(1, budget // (rows * m))


def _runs(heads: tuple[int, ...], together: int) -> Iterator[tuple[int, int]]:
    """Half-open ranges of neighbouring heads, at most ``together`` long: views need no copy."""
    first = 0
    while first < len(heads):
        last = first + 1
        while (last < len(heads) and last - first < together
               and heads[last] == heads[last - 1] + 1):
            last += 1
        yield heads[first], heads[last - 1] + 1
        first = last

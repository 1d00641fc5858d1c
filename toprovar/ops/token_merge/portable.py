"""The merged update in plain torch."""

from __future__ import annotations

from torch import Tensor

from ..adaln.portable import gated_add_
from ..resize_tokens import resize_tokens
from ..token_index import put_tokens_, take_tokens


def merge_update_(
    x: Tensor, fresh: Tensor | None, index: Tensor, cached: Tensor, grid: tuple[int, int],
    new_grid: tuple[int, int], mode: str, gate: Tensor | None, out: Tensor | None,
    slots: Tensor | None,
) -> Tensor:
    kept = take_tokens(x, index)
    if fresh is not None:
        gated_add_(kept, fresh, gate)
    update = resize_tokens(cached, grid, new_grid, mode, backend="torch")
    x.add_(update)
    put_tokens_(x, index, kept)
    if out is not None and fresh is not None:
        own = fresh if gate is None else fresh * gate[:, None]
        put_tokens_(out.copy_(update), index, own.to(out.dtype))
    return x

"""The update of a whole scale when only some tokens were worked on, token by token."""

from __future__ import annotations

from torch import Tensor

from ..resize_tokens.reference import resize_tokens


def merged_update(
    fresh: Tensor | None, gate: Tensor | None, index: Tensor, cached: Tensor,
    grid: tuple[int, int], new_grid: tuple[int, int], mode: str,
) -> Tensor:
    """Fresh updates where there are any, elsewhere those of an earlier scale, resized.

    Args:
        fresh: [R, n, C] updates of the kept tokens, or None for 0.
        gate: [R, C] factor on ``fresh``, or None for 1.
        index: [n] or [R, n], the kept tokens.
        cached: [R, h * w, C] updates of the earlier scale.

    Returns:
        [R, h2 * w2, C] float64, to be added to the residual.
    """
    update = resize_tokens(cached, grid, new_grid, mode)
    for row, tokens in enumerate(index.expand(update.shape[0], -1)):
        for i, token in enumerate(tokens.tolist()):
            if fresh is None:
                update[row, token] = 0
            else:
                own = fresh[row, i].double()
                update[row, token] = own if gate is None else own * gate[row].double()
    return update

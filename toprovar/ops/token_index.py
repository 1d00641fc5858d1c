"""Index sets of tokens: one for all rows, or one per row."""

from __future__ import annotations

import torch
from torch import Tensor


def check_index(index: Tensor, rows: int) -> None:
    """ValueError unless ``index`` is int64 of shape [n] or [rows, n]. Values are not looked at:
    that would wait for the device."""
    if index.dtype != torch.int64 or not (
        index.ndim == 1 or (index.ndim == 2 and index.shape[0] == rows)
    ):
        raise ValueError(
            f"token index: expected int64 of shape [n] or [{rows}, n], found {index.dtype} of "
            f"shape {tuple(index.shape)}"
        )


def take_tokens(x: Tensor, index: Tensor) -> Tensor:
    """Tokens ``index`` of ``x`` [R, N, ...]: [R, n, ...], a copy."""
    if index.ndim == 1:
        return x.index_select(1, index)
    return x[_row_numbers(x), index]


def put_tokens_(x: Tensor, index: Tensor, values: Tensor) -> Tensor:
    """Write ``values`` [R, n, ...] to tokens ``index`` of ``x`` [R, N, ...], in place."""
    if index.ndim == 1:
        return x.index_copy_(1, index, values)
    return x.index_put_((_row_numbers(x), index), values)


def index_row_stride(index: Tensor) -> int:
    """Elements between the index sets of neighbouring rows, 0 when they share one."""
    return 0 if index.ndim == 1 else index.stride(0)


def _row_numbers(x: Tensor) -> Tensor:
    return torch.arange(x.shape[0], device=x.device)[:, None]


def token_slots(index: Tensor, total: int) -> Tensor:
    """Where each of ``total`` tokens stands in an index set: [total] or [R, total] int32, -1 for
    tokens that are not in it."""
    slots = torch.full((*index.shape[:-1], total), -1, dtype=torch.int32, device=index.device)
    numbers = torch.arange(index.shape[-1], dtype=torch.int32, device=index.device)
    return slots.scatter_(-1, index, numbers.expand_as(index))

"""A linear shortcut's numbers: two factors of low rank and a constant, of 16 or of 8 bits.

Of 8 bits, a factor is a matrix of whole numbers with a scale for each row and each column. What a
token's inputs contribute differs by orders of magnitude, so one scale for all of them would leave
little of most.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

MOST_INT8 = 127
"""Largest whole number that is written; as large on both sides of 0."""


class LinearMap(NamedTuple):
    """``down`` [r, inputs], ``up`` [C, r], ``bias`` [C]."""

    down: Tensor
    up: Tensor
    bias: Tensor


class QuantizedMap(NamedTuple):
    """A map of 8 bits.

    Attributes:
        down: int8 [r, F]; inputs: float32 [F], hidden: float32 [r], of its columns and rows: the
            numbers are ``down * hidden[:, None] * inputs``. The scales of up's columns are part of
            ``hidden``.
        up: int8 [C, r]; outcomes: float32 [C], of its rows: the numbers are
            ``up * outcomes[:, None]``.
        bias: float32 [C].
    """

    down: Tensor
    inputs: Tensor
    hidden: Tensor
    up: Tensor
    outcomes: Tensor
    bias: Tensor


ShortcutMap = LinearMap | QuantizedMap


def quantized(found: LinearMap, input_scale: Tensor | None = None,
              input_mean: Tensor | None = None) -> QuantizedMap:
    """A map in 8 bits, on the CPU.

    Scales of rows and columns are such that the errors are small against what each input
    contributes, over all that is predicted. Errors are even over the rows of ``up`` if what lies
    between the factors is about as large in all places, as ``Moments.solve`` makes it.

    Args:
        input_scale: [F] standard deviations of the inputs; None = all alike.
        input_mean: [F] means of the inputs, from which the same is predicted as before: the
            constant makes up for what rounding does there; None = 0.
    """
    down, up, bias = (x.detach().cpu().double() for x in found)
    each = torch.ones_like(down[0]) if input_scale is None else _scale(input_scale.cpu().double())
    shares = down * each
    rows = _scale(shares.square().mean(1).sqrt())
    columns = _scale((shares / rows[:, None]).abs().amax(0))
    rows = _scale((shares / columns).abs().amax(1) / MOST_INT8)
    columns = _scale((shares / rows[:, None]).abs().amax(0) / MOST_INT8)
    inputs = columns / each
    outcomes = _scale(up.square().mean(1).sqrt())
    between = _scale((up / outcomes[:, None]).abs().amax(0) / MOST_INT8)
    small = QuantizedMap(
        _whole(down / rows[:, None] / inputs), _stored(inputs), _stored(rows * between),
        _whole(up / outcomes[:, None] / between), _stored(outcomes), bias.float())
    if input_mean is None:
        return small
    mean, again = input_mean.cpu().double(), as_linear(small)
    bias = bias + up @ (down @ mean) - again.up.double() @ (again.down.double() @ mean)
    return small._replace(bias=bias.float())


def as_linear(found: ShortcutMap) -> LinearMap:
    """The numbers that a map stands for: float32 where it is of 8 bits, else itself."""
    if isinstance(found, LinearMap):
        return found
    return LinearMap(found.down.float() * found.hidden[:, None] * found.inputs,
                     found.up.float() * found.outcomes[:, None], found.bias)


def as_kept(found: ShortcutMap) -> ShortcutMap:
    """As it is stored: factors in float16 and the constant in float32, or 8 bits as they are."""
    if isinstance(found, LinearMap):
        return LinearMap(found.down.half().contiguous(), found.up.half().contiguous(),
                         found.bias.float().contiguous())
    return QuantizedMap(*(x.contiguous() for x in found))


def check_map(name: str, found: ShortcutMap, width: int, inputs: int) -> None:
    """Refuse what is no map of so many inputs to ``width`` numbers."""
    rank = found.down.shape[0] if found.down.ndim else 0
    factors = {"down": (rank, inputs), "up": (width, rank), "bias": (width,)}
    if isinstance(found, QuantizedMap):
        factors |= {"inputs": (inputs,), "hidden": (rank,), "outcomes": (width,)}
    expected = {part: factors[part] for part in found._fields}
    shapes = {part: tuple(x.shape) for part, x in found._asdict().items()}
    if shapes != expected:
        raise ValueError(f"{name} has shapes {tuple(shapes.values())}, expected "
                         f"{tuple(expected.values())}")
    if isinstance(found, LinearMap):
        return
    for part, x in found._asdict().items():
        kind = torch.int8 if part in ("down", "up") else torch.float32
        if x.dtype != kind:
            raise ValueError(f"{name}.{part} is of {x.dtype}, expected {kind}")
        if part in ("inputs", "hidden", "outcomes") and not (x > 0).all():
            raise ValueError(f"{name}.{part} holds scales that are not above 0")
    if not all(x.half().isfinite().all() for x in as_linear(found)[:2]):
        raise ValueError(f"{name} holds scales that are too large for float16")


def _scale(x: Tensor) -> Tensor:
    """What can be divided by: 1 where there is nothing."""
    return torch.where(x > 0, x, torch.ones_like(x))


def _whole(x: Tensor) -> Tensor:
    return x.round().clamp(-MOST_INT8, MOST_INT8).to(torch.int8).contiguous()


def _stored(x: Tensor) -> Tensor:
    """As float32, above 0 there too."""
    return x.float().clamp_min(torch.finfo(torch.float32).tiny).contiguous()

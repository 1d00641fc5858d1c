"""What a group norm is given, and what it comes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

EPS = 1e-6


class Affine(NamedTuple):
    """A scale and a shift for each channel of each image, [B, C] float32."""

    scale: Tensor
    shift: Tensor


@dataclass(frozen=True, eq=False)
class Norm:
    """A group norm's parameters.

    Attributes:
        weight, bias: [C] float32.
        groups: it divides C.
    """

    weight: Tensor
    bias: Tensor
    groups: int
    eps: float = EPS

    def __post_init__(self) -> None:
        if self.weight.ndim != 1 or self.channels % self.groups:
            raise ValueError(f"group norm: weight has shape {tuple(self.weight.shape)}, expected "
                             f"[C] with C a multiple of the {self.groups} groups")

    @property
    def channels(self) -> int:
        return self.weight.shape[0]

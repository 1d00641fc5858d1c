"""Least squares of low rank, from sums over tokens that never lie in memory together."""

from __future__ import annotations

import torch
from torch import Tensor

from ..sparsity.shortcuts import LinearMap

RIDGE = 1e-4
"""Of each input's variance, added to it: keeps the solution small where inputs are alike."""


class Moments:
    """Sums over inputs z and outcomes y of many tokens, in float64."""

    def __init__(self) -> None:
        self.tokens = 0
        self.total = 0.0  # of y, squared
        self._shift: Tensor | None = None
        self._zz: Tensor | None = None
        self._zy: Tensor | None = None

    @staticmethod
    def nbytes(inputs: int, outcomes: int) -> int:
        """What the sums take."""
        return 8 * (inputs + 1) * (inputs + 1 + outcomes)

    def add(self, z: Tensor, y: Tensor) -> None:
        """Tokens [..., F] and [..., C], float32."""
        z, y = z.flatten(0, -2), y.flatten(0, -2)
        if self._shift is None:  # so that products of float32 lose nothing to large means
            self._shift = z.mean(0)
        z = torch.cat([z - self._shift, torch.ones_like(z[:, :1])], 1)
        zz, zy = (z.T @ z).double(), (z.T @ y).double()
        self._zz = zz if self._zz is None else self._zz + zz
        self._zy = zy if self._zy is None else self._zy + zy
        self.tokens += z.shape[0]
        self.total += float(y.double().square().sum())

    def solve(self, rank: int) -> LinearMap:
        """The map of at most ``rank`` that leaves least squares: the principal directions of what
        ridge regression predicts."""
        zz, zy, shift = self._sums()
        sums, n = zz[-1, :-1], self.tokens
        spread = zz[:-1, :-1] - torch.outer(sums, sums) / n
        common = zy[:-1] - torch.outer(sums, zy[-1]) / n
        ridge = RIDGE * spread.diagonal() + 1e-12 * spread.diagonal().max().clamp_min(1e-30)
        weight = torch.linalg.solve(spread + ridge.diag(), common)
        up = torch.linalg.eigh(weight.T @ spread @ weight)[1][:, -rank:].flip(1)
        down = (weight @ up).T
        bias = zy[-1] / n - up @ (down @ (shift.double() + sums / n))
        return LinearMap(*(x.float().cpu() for x in (down, up, bias)))

    def explained(self, found: LinearMap) -> float:
        """Share of y's squares that a map predicts."""
        zz, zy, shift = self._sums()
        down, up, bias = (x.to(zz) for x in found)
        weight = up @ down
        both = torch.cat([weight, (bias + weight @ shift.double())[:, None]], 1)
        missed = self.total - 2 * (both * zy.T).sum() + ((both @ zz) * both).sum()
        return 1 - float(missed) / self.total if self.total else 0.0

    def _sums(self) -> tuple[Tensor, Tensor, Tensor]:
        if self._zz is None or self._zy is None or self._shift is None:
            raise ValueError("there are no tokens to fit to")
        return self._zz, self._zy, self._shift


class Spread:
    """Sums that say in which directions tokens differ most."""

    def __init__(self) -> None:
        self._sums: tuple[int, Tensor, Tensor] | None = None

    def add(self, x: Tensor) -> None:
        """Tokens [..., C]."""
        x = x.flatten(0, -2).double()
        own = x.shape[0], x.sum(0), x.T @ x
        if self._sums is not None:
            n, first, second = self._sums
            own = own[0] + n, own[1] + first, own[2] + second
        self._sums = own

    def directions(self, count: int) -> Tensor:
        """[C, count], the principal ones first."""
        if self._sums is None:
            raise ValueError("there are no tokens to look at")
        n, first, second = self._sums
        spread = second / n - torch.outer(first, first) / n**2
        return torch.linalg.eigh(spread)[1][:, -count:].flip(1).float().cpu()

"""Least squares of low rank, from sums over tokens that never lie in memory together."""

from __future__ import annotations

import torch
from torch import Tensor

from ..sparsity.shortcut_maps import LinearMap, ShortcutMap, as_linear

RIDGE = 1e-4
"""Of each input's variance, added to it: keeps the solution small where inputs are alike."""
RIDGES = (1e-4, 1e-3, 1e-2, 0.1, 1.0)
"""Of which tokens that are held out choose one."""
UNTRIED = 0.1
"""Ridge where none is held out: few tokens, so that the fit is to be modest."""
STRIPES = 4
"""That products of inputs are made in, each from its own diagonal on: five eighths of the work."""
EXACT_MOST = 1024
"""Outcomes whose principal directions are found in float64; of more in float32, for the time."""


class Moments:
    """Sums over inputs z [F] and outcomes y [C] of many tokens, on the inputs' device.

    They are of float32: 4 bytes an entry. Both are taken from the first tokens' means, so that
    nothing is lost to means that are large. What rounding then adds over a thousand parts stays
    below the ridge, also where inputs are nearly dependent: shares of the outcomes' squares that
    are predicted agree with those of float64 to 1e-5.
    """

    def __init__(self) -> None:
        self.tokens = 0
        self.total = 0.0  # of y, squared
        self._about = 0.0  # the same from the first tokens' mean
        self._shifts: tuple[Tensor, Tensor] | None = None
        self._zz: Tensor | None = None
        self._zy: Tensor | None = None

    @staticmethod
    def nbytes(inputs: int, outcomes: int) -> int:
        """What the sums take."""
        return 4 * ((inputs + 1) * (inputs + 1 + outcomes) + inputs + outcomes)

    def add(self, z: Tensor, y: Tensor) -> None:
        """Tokens [..., F] and [..., C], float32."""
        z, y = z.flatten(0, -2), y.flatten(0, -2)
        self.tokens += z.shape[0]
        self.total += float(y.double().square().sum())
        if self._shifts is None:
            self._shifts = z.mean(0), y.mean(0)
        y = y - self._shifts[1]
        z = torch.cat([z - self._shifts[0], torch.ones_like(z[:, :1])], 1)
        self._about += float(y.double().square().sum())
        if self._zz is None or self._zy is None:
            self._zz, self._zy = z.new_zeros(z.shape[1], z.shape[1]), z.T @ y
        else:
            self._zy += z.T @ y
        for first in range(0, z.shape[1], -(-z.shape[1] // STRIPES)):
            part = slice(first, first + -(-z.shape[1] // STRIPES))
            self._zz[part, first:] += z[:, part].T @ z[:, first:]  # the rest is its mirror image

    @property
    def input_scale(self) -> Tensor:
        """[F] standard deviations of the inputs, float32 on the CPU."""
        zz, _, _, _ = self._sums()
        sums, n = zz[-1, :-1].double(), self.tokens
        spread = zz.diagonal()[:-1].double() - sums.square() / n
        return (spread.clamp_min(0) / n).sqrt().float().cpu()

    @property
    def input_mean(self) -> Tensor:
        """[F] means of the inputs, float32 on the CPU."""
        zz, _, shift, _ = self._sums()
        return (shift + zz[-1, :-1] / self.tokens).cpu()

    def best_ridge(self, z: Tensor, y: Tensor) -> float:
        """The one of ``RIDGES`` whose map, of any rank, predicts most of ``y`` [n, C] from ``z``
        [n, F]. Computed in float32: it is a choice, no result."""
        zz, zy, shift, about = self._sums()
        sums, n = zz[-1, :-1], self.tokens
        spread = zz[:-1, :-1] - torch.outer(sums, sums) / n
        common = zy[:-1] - torch.outer(sums, zy[-1]) / n
        variance = spread.diagonal().clone()
        size = (variance + 1e-12 * variance.max().clamp_min(1e-30)).sqrt()
        alike = spread / size / size[:, None]  # of inputs of one size: float32 bears it
        z, y = z.to(zz) - shift - sums / n, y.to(zz) - about - zy[-1] / n
        missed: dict[float, float] = {}
        for ridge in RIDGES:
            factor, failed = torch.linalg.cholesky_ex(
                alike + ridge * torch.eye(len(alike), device=alike.device))
            if failed:
                continue
            weight = torch.cholesky_solve(common / size[:, None], factor) / size[:, None]
            missed[ridge] = float((y - z @ weight).double().square().sum())
        return min(missed, key=lambda ridge: missed[ridge], default=UNTRIED)

    def solve(self, rank: int, ridge: float = RIDGE) -> LinearMap:
        """The map of at most ``rank`` that leaves least squares: the principal directions of what
        ridge regression predicts. It is computed in float64; what ``down`` makes has a variance of
        1 in each place.

        Args:
            ridge: of each input's variance, added to it.
        """
        zz, zy, shift, about = self._sums()
        sums, n = zz[-1, :-1].double(), self.tokens
        spread = zz[:-1, :-1].double().addr_(sums, sums, alpha=-1 / n)
        common = zy[:-1].double().addr_(sums, zy[-1].double(), alpha=-1 / n)
        variance = spread.diagonal().clone()
        added = ridge * variance + 1e-12 * variance.max().clamp_min(1e-30)
        spread.diagonal().add_(added)
        weight = torch.linalg.solve(spread, common)
        predicted = weight.T @ common - weight.T @ (added[:, None] * weight)
        exact = len(predicted) <= EXACT_MOST
        directions = torch.linalg.eigh(predicted if exact else predicted.float())[1]
        up = directions[:, -rank:].flip(1).double()
        size = ((predicted @ up) * up).sum(0).clamp_min(0).div(n).sqrt()
        size = size.clamp_min(1e-6 * float(size.max()) or 1.0)
        down, up = (weight @ up / size).T, up * size
        bias = zy[-1].double() / n + about - up @ (down @ (shift.double() + sums / n))
        return LinearMap(*(x.float().cpu() for x in (down, up, bias)))

    def explained(self, found: ShortcutMap) -> float:
        """Share of y's squares that a map predicts."""
        zz, zy, shift, about = (x.double() for x in self._sums())
        down, up, bias = (x.to(zz) for x in as_linear(found))
        weight = up @ down
        both = torch.cat([weight, (bias - about + weight @ shift)[:, None]], 1)
        missed = self._about - 2 * (both * zy.T).sum() + ((both @ zz) * both).sum()
        return 1 - float(missed) / self.total if self.total else 0.0

    @staticmethod
    def explained_of(z: Tensor, y: Tensor, found: ShortcutMap) -> float:
        """Share of the squares of ``y`` [..., C] that a map predicts from ``z`` [..., F]."""
        down, up, bias = (x.to(z) for x in as_linear(found))
        missed = (y - z @ down.T @ up.T - bias).double().square().sum()
        total = float(y.double().square().sum())
        return 1 - float(missed) / total if total else 0.0

    def _sums(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """zz [F + 1, F + 1] and zy [F + 1, C], both with a row of z's ones last, and the shifts."""
        if self._zz is None or self._zy is None or self._shifts is None:
            raise ValueError("there are no tokens to fit to")
        return self._zz.triu() + self._zz.triu(1).T, self._zy, *self._shifts


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

"""Who decides the bits of an edit: those that are kept come from the source, the rest is drawn.

Every draw is taken from the generators whether it is used or not, so that what is drawn has the
random numbers that it would have in a picture drawn at once: a finished draft is that picture.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..sampling.bits import Sampler
from .stack import BitStack


class KeepingSampler(Sampler):
    """Feeds kept bits, and draws the others.

    Args:
        sampler: draws.
        source: the bits that are kept, of as many pictures as are drawn, on the run's device. At
            a scale of which it has none all are drawn, and codes alone are kept.
        drawn: tokens that are drawn, of every scale, [B, N] bool on the run's device; None = all.
    """

    def __init__(self, sampler: Sampler, source: BitStack, drawn: list[Tensor | None]) -> None:
        super().__init__(sampler.params, sampler.generators)
        self.sampler, self.source, self.drawn = sampler, source, drawn

    def __call__(self, scale: int, logits: Tensor) -> Tensor:
        bits = self.sampler(scale, logits)
        drawn, known = self.drawn[scale], _bits(self.source, scale)
        if drawn is None or known is None:
            return bits
        return torch.where(drawn[..., None], bits, known)

    def skip(self, scale: int, shape: tuple[int, int, int], device: torch.device) -> None:
        self.sampler.skip(scale, shape, device)


class HeldCodes:
    """The summed codes of a source, which kept places are brought back to after every scale.

    Args:
        source: on the run's device.
        drawn: as of ``KeepingSampler``; untouched: for every scale whether nothing has been
            drawn up to it, so that all codes are the source's.
        fixed: [B, 1, H, W] bool of the latent's cells, True where codes never change; None = none.
        like: summed codes of the run, for their shape; patch: latent pixels of a token's side.
    """

    def __init__(self, source: BitStack, drawn: list[Tensor | None], untouched: list[bool],
                 fixed: Tensor | None, like: Tensor, patch: int) -> None:
        self.source, self.drawn, self.untouched = source, drawn, untouched
        self.fixed, self.patch = fixed, patch
        self.codes = torch.zeros_like(like)
        self._next = 0

    def fed(self, scale: int) -> Tensor | None:
        drawn = self.drawn[scale]
        if drawn is None or _bits(self.source, scale) is None:
            return None
        stayed = self.source.stayed[scale]
        return ~drawn if stayed is None else ~drawn & stayed

    def restore(self, scale: int, codes: Tensor) -> None:
        self._sum_to(scale)
        if self.untouched[scale]:
            codes.copy_(self.codes)
        elif self.fixed is not None:
            torch.where(self.fixed, self.codes, codes, out=codes)

    def finish(self, codes: Tensor) -> None:
        """The same after the last scale that was run: kept places get the finest codes, too."""
        self._sum_to(len(self.source.grids) - 1)
        last = len(self.untouched) - 1
        if self.untouched[last]:
            codes.copy_(self.codes)
        elif self.fixed is not None:
            torch.where(self.fixed, self.codes, codes, out=codes)

    def _sum_to(self, scale: int) -> None:
        while self._next <= scale:
            self.source.add_(self.codes, self._next, self.patch)
            self._next += 1


def _bits(source: BitStack, scale: int) -> Tensor | None:
    return source.bits[scale] if scale < len(source.bits) else None

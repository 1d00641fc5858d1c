"""A picture as the model sees it: a stack of bits from coarse to fine, and the sums of their codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..sampling.head import add_codes_
from ..schedules import ScaleSchedule


@dataclass(frozen=True)
class BitStack:
    """Bits of B pictures, scale by scale.

    Attributes:
        grids: (h, w) tokens of every scale that has bits or was left out, coarse to fine.
        bits: for each of them [B, h w, d] uint8 of 0 and 1, or None where the scale was not run.
        stayed: for each of them [B, h w] bool, False for tokens that left the scale and added no
            codes; None = all stayed.
    """

    grids: tuple[tuple[int, int], ...]
    bits: tuple[Tensor | None, ...]
    stayed: tuple[Tensor | None, ...] = ()

    def __post_init__(self) -> None:
        if not self.stayed:
            object.__setattr__(self, "stayed", (None,) * len(self.grids))
        if not self.grids or not len(self.grids) == len(self.bits) == len(self.stayed):
            raise ValueError(f"bits of {len(self.bits)} scales for {len(self.grids)} grids: give "
                             "each scale its own")
        known = [b for b in self.bits if b is not None]
        if not known:
            raise ValueError("a stack of bits needs those of at least one scale")
        for scale, (grid, bits, stayed) in enumerate(zip(self.grids, self.bits, self.stayed,
                                                         strict=True)):
            tokens = grid[0] * grid[1]
            if bits is not None:
                expected = (known[0].shape[0], tokens, known[0].shape[2])
                if bits.dtype != torch.uint8 or tuple(bits.shape) != expected:
                    raise ValueError(f"bits of scale {scale}: expected uint8 {expected}, got "
                                     f"{bits.dtype} {tuple(bits.shape)}")
            if stayed is not None and (bits is None or stayed.shape != bits.shape[:2]):
                raise ValueError(f"scale {scale}: the tokens that stayed do not fit its bits")

    def __len__(self) -> int:
        """How many pictures."""
        return self._any.shape[0]

    @property
    def bits_per_token(self) -> int:
        return self._any.shape[2]

    @property
    def device(self) -> torch.device:
        return self._any.device

    @property
    def _any(self) -> Tensor:
        return next(b for b in self.bits if b is not None)

    def pick(self, which: Sequence[int]) -> BitStack:
        """Some of the pictures, in the order given; one may be taken several times."""
        index = torch.tensor(list(which), dtype=torch.int64, device=self.device)
        return self._each(lambda t: t[index])

    def first(self, scales: int) -> BitStack:
        """The first scales alone."""
        return BitStack(self.grids[:scales], self.bits[:scales], self.stayed[:scales])

    def to(self, device: torch.device) -> BitStack:
        return self._each(lambda t: t.to(device))

    def _each(self, change) -> BitStack:  # type: ignore[no-untyped-def]  # Tensor -> Tensor
        bits, stayed = (tuple(None if t is None else change(t) for t in own)
                        for own in (self.bits, self.stayed))
        return BitStack(self.grids, bits, stayed)

    def check_begins(self, schedule: ScaleSchedule, bits_per_token: int) -> None:
        """Refuse a size or model that these bits are not the first scales of.

        Raises:
            ValueError: with what was expected.
        """
        if self.bits_per_token != bits_per_token:
            raise ValueError(f"the bits are of a model with {self.bits_per_token} bits a token, "
                             f"this one has {bits_per_token}: use the model that drew them")
        if schedule.grids[: len(self.grids)] != self.grids:
            h, w = self.grids[-1]
            raise ValueError(
                f"the bits are of {len(self.grids)} scales up to {h} x {w} tokens, which are not "
                f"the first of the size {schedule.image_size[1]}x{schedule.image_size[0]}: use a "
                "size of the same aspect that is not smaller")

    def add_(self, codes: Tensor, scale: int, patch: int) -> None:
        """Add what a scale gives to the summed codes [B, latent channels, H, W]; nothing where it
        has no bits."""
        bits = self.bits[scale] if scale < len(self.bits) else None
        if bits is None:
            return
        stayed = self.stayed[scale]
        add_codes_(codes, bits, self.grids[scale], patch, here=stayed)

    def summed(self, schedule: ScaleSchedule, latent_channels: int, patch: int) -> Tensor:
        """[B, latent channels, H, W] float32 codes of all scales at the size of ``schedule``."""
        height, width = schedule.grids[-1]
        codes = torch.zeros(len(self), latent_channels, height * patch, width * patch,
                            device=self.device)
        for scale in range(len(self.grids)):
            self.add_(codes, scale, patch)
        return codes

    def same_bits(self, other: BitStack) -> float:
        """Share of the bits that are equal, over scales that both have."""
        same = total = 0
        for a, b in zip(self.bits, other.bits, strict=False):
            if a is not None and b is not None:
                same += int((a == b.to(a.device)).sum())
                total += a.numel()
        return same / total if total else 1.0


def recorded(grids: Sequence[tuple[int, int]], bits: dict[int, Tensor],
             stayed: dict[int, Tensor | None], scales: int) -> BitStack:
    """The stack of a run, from what its ``ScaleState`` objects told.

    Args:
        bits, stayed: by scale; scales that were not run are absent.
        scales: how many were done, those left out among them.
    """
    return BitStack(tuple(grids[:scales]), tuple(bits.get(s) for s in range(scales)),
                    tuple(stayed.get(s) for s in range(scales)))

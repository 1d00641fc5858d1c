"""Pictures through the autoencoder and its bits, as true or as ragged as wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from toprovar.models.autoencoder import InfinityAutoencoder
from toprovar.models.latents import bits_to_codes, resize_codes
from toprovar.schedules import get_schedule

_PIECE = 64


@dataclass(frozen=True)
class Reconstructor:
    """Pictures of 256 x 256 to bits of every scale and back.

    Attributes:
        compute: dtype of the wide products.
    """

    vae: InfinityAutoencoder
    compute: torch.dtype = torch.float32

    @torch.no_grad()
    def __call__(
        self, images: Tensor, flip: Tensor | None = None, fixed: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Reconstructions of RGB pictures [B, 3, S, S] in 0-1.

        Args:
            flip: [B, scales], probability that a bit of that scale is turned over.
            fixed: bool [B], whether the bits stay those of the true picture, so that no later
                scale mends a wrong one; where not, each scale corrects those before it.
        """
        parts = []
        for start in range(0, len(images), _PIECE):
            rows = slice(start, start + _PIECE)
            spoil = None
            if flip is not None:
                keep = torch.zeros_like(flip[:, 0], dtype=torch.bool) if fixed is None else fixed
                spoil = Spoil(flip[rows], keep[rows], generator)
            parts.append(self._piece(images[rows], spoil))
        return torch.cat(parts)

    def _piece(self, images: Tensor, spoil: Spoil | None) -> Tensor:
        device = images.device
        with torch.autocast(device.type, self.compute, self.compute != torch.float32):
            latent = self.vae.encode(images * 2 - 1).float()
        codes = ragged_codes(latent, grids_of(images.shape[-1]), spoil)
        with torch.autocast(device.type, self.compute, self.compute != torch.float32):
            return (self.vae.decode(codes) + 1) / 2


def grids_of(size: int) -> tuple[tuple[int, int], ...]:
    """The scales of square pictures of this side."""
    for budget in ("0.06M", "0.25M"):
        schedule = get_schedule("1.0", budget)
        if schedule.image_size == (size, size):
            return schedule.grids
    raise ValueError(f"no schedule draws {size} x {size} pictures")


@dataclass(frozen=True)
class Spoil:
    """Which bits are turned over; see ``Reconstructor``."""

    flip: Tensor
    fixed: Tensor
    generator: torch.Generator | None


def ragged_codes(
    latent: Tensor, grids: Sequence[tuple[int, int]], spoil: Spoil | None = None
) -> Tensor:
    """Summed codes [B, d, H, W] of a latent of that shape, spoilt or not."""
    channels, full = latent.shape[1], (latent.shape[2], latent.shape[3])
    residual, summed = latent, torch.zeros_like(latent)
    for index, grid in enumerate(grids):
        small = residual if tuple(grid) == full else F.interpolate(residual, grid, mode="area")
        bit = (small > 0).to(torch.uint8)
        true = resize_codes(bits_to_codes(bit, channels).to(latent.dtype), full)
        shown = taken = true
        if spoil is not None:
            noise = torch.rand(bit.shape, generator=spoil.generator, device=bit.device)
            turned = bit ^ (noise < spoil.flip[:, index, None, None, None]).to(torch.uint8)
            shown = resize_codes(bits_to_codes(turned, channels).to(latent.dtype), full)
            taken = torch.where(spoil.fixed[:, None, None, None], true, shown)
        summed = summed + shown
        residual = residual - taken
    return summed


def random_flips(count: int, scales: int, generator: torch.Generator, most: float = 0.2) -> Tensor:
    """Flip probabilities [count, scales]: mostly small, at fine scales more than at coarse ones.

    Coarse bits say what is where; turning them over would change what a picture shows.
    """
    device = generator.device
    depth = torch.linspace(0.0, 1.0, scales, device=device)
    strength = torch.rand((count, 1), generator=generator, device=device).square() * most
    return strength * ((depth - 0.3) / 0.7).clamp_min(0.0)

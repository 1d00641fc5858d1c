"""What a run keeps of another picture: tokens whose bits it is given, and places whose codes stay.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Held(Protocol):
    """The kept part of a picture, for one run. Its bits reach the run through the ``BitChooser``;
    this tells the rest."""

    def fed(self, scale: int) -> Tensor | None:
        """Tokens whose bits are given and not drawn, [B, N] bool: they add their codes also where
        the plan lets them leave the scale. None = there are none."""
        ...

    def restore(self, scale: int, codes: Tensor) -> None:
        """Called once after every scale in turn, also of those that are not run: bring the kept
        places of the summed codes [B, latent channels, H, W] to what they are in the picture,
        in place, without waiting for the device."""
        ...

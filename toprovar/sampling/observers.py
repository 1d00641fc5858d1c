"""What a run shows to those who look on: each scale when it is done, and the inside of blocks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .report import SOURCE as SOURCE
from .report import ScaleReport


@dataclass(frozen=True)
class ScaleState:
    """The state of a run after a scale.

    Attributes:
        index: the number of the scale, from 0.
        total: how many scales the schedule has.
        grid: the rows and columns of tokens of the scale.
        logits: [B, N, 2 d] float32, after temperature and guidance.
        bits: [B, N, d] uint8, the bits that were drawn.
        summed_codes: [B, latent channels, H, W] float32, the sum of all codes so far. It is the
            run's own tensor: do not change it.
        report: the part of the report that is about this scale.
        kept: by layer, the indices of the tokens that it worked on: [n], or [R, n]. Layers that
            worked on all tokens, or chose tokens anew inside the block, are missing.
        stayed: [B, N] bool, the tokens that added their codes to the picture. None = all tokens
            did.
    """

    index: int
    total: int
    grid: tuple[int, int]
    logits: Tensor
    bits: Tensor
    summed_codes: Tensor
    report: ScaleReport
    kept: dict[int, Tensor]
    stayed: Tensor | None = None


class LayerProbe:
    """Looks into a run without changing it; override what is of interest.

    Tensors are the run's own: copy what is kept. Where a source picture is edited, its own pass
    through the blocks comes first, as scale ``SOURCE``.
    """

    def block_input(self, scale: int, layer: int, x: Tensor) -> None:
        """``x`` [R, N, C] residual of all tokens before the block, or [R, r, C] of the mixtures
        inside a group of layers that works on some."""

    def attention(self, scale: int, layer: int, q: Tensor, k: Tensor, v: Tensor, out: Tensor
                  ) -> None:
        """``q``, ``out`` [R, H, n, D], ``k``, ``v`` [R, H, M, D] of the processed tokens."""

    def block_output(self, scale: int, layer: int, x: Tensor) -> None:
        """``x`` [R, N, C] residual of all tokens after the block (and after guidance was mixed in
        there), or of the mixtures inside a group that works on some."""

    def mixed(self, scale: int, layer: int, places: Tensor, x: Tensor) -> None:
        """Before the first ``layer`` of a group that works on mixtures: ``x`` [R, r, C] mixtures,
        and ``places`` [R, r] int64 that they will be written to."""

    def unmixed(self, scale: int, layer: int, x: Tensor) -> None:
        """After the last ``layer`` of such a group: ``x`` [R, r, C] mixtures, before they are
        written to their places."""

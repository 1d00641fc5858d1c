"""What a run shows to those who look on: each scale when it is done, and the inside of blocks."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .report import ScaleReport


@dataclass(frozen=True)
class ScaleState:
    """What a run hands out after each scale.

    Attributes:
        index: the scale, from 0; ``total`` scales in all.
        logits: [B, N, 2 d] float32 after temperature and guidance.
        bits: [B, N, d] uint8.
        summed_codes: [B, latent channels, H, W] so far; the run's own tensor, not to be changed.
        kept: per layer, indices of the tokens it kept: [n], or [R, n]; layers that kept all, or
            pick tokens for each sub-layer, are absent.
        stayed: [B, N] bool, tokens that added their codes, where others left the scale; None = all.
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

    Tensors are the run's own: copy what is kept.
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

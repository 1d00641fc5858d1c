"""Muon: momentum whose matrices are orthogonalised, for many equal matrices at once.

torch.optim.Muon works matrix by matrix, about a thousand small kernels a step for this model.
Here matrices of one shape are stacked and go through the iteration together. Fused projections
(q, k and v in one weight) are taken apart first: each is a matrix of its own.
"""

# torch's multi-tensor functions have no public names.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz iteration towards the nearest semi-orthogonal matrices: [M, rows, columns]."""
    a, b, c = _COEFFICIENTS
    x = matrices.bfloat16() if matrices.is_cuda else matrices.float()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)


class BatchedMuon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, with the step size matched to AdamW's.

    Args:
        parameters: weights [rows, columns], or kernels [out, in, h, w] taken as [out, in h w].
        fused: number of stacked matrices in a parameter, by its place in ``parameters``.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        fused: Sequence[int],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.05,
    ) -> None:
        if any(p.ndim not in (2, 4) for p in parameters) or len(fused) != len(parameters):
            raise ValueError(
                "Muon takes matrices and kernels, and one count of stacked matrices for each"
            )
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self._fused = list(fused)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            live = [
                (p, n)
                for p, n in zip(group["params"], self._fused, strict=True)
                if p.grad is not None
            ]
            params = [p for p, _ in live]
            grads = [p.grad for p in params]
            for p in params:
                if not self.state[p]:
                    self.state[p]["momentum"] = torch.zeros_like(p)
            buffers = [self.state[p]["momentum"] for p in params]
            torch._foreach_lerp_(buffers, grads, 1 - group["momentum"])
            ahead = torch._foreach_lerp(grads, buffers, group["momentum"])
            torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
            self._apply(live, ahead, group["lr"])

    @staticmethod
    def _apply(live: list[tuple[nn.Parameter, int]], ahead: Sequence[Tensor], lr: float) -> None:
        shapes: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
        for (p, count), update in zip(live, ahead, strict=True):
            for target, piece in zip(p.chunk(count), update.chunk(count), strict=True):
                matrix = piece.flatten(1)
                shapes.setdefault((matrix.shape[0], matrix.shape[1]), []).append((target, matrix))
        for (rows, columns), pairs in shapes.items():
            steps = orthogonalise(torch.stack([piece for _, piece in pairs]))
            torch._foreach_add_(
                [target for target, _ in pairs],
                [step.view(t.shape) for step, (t, _) in zip(steps.unbind(), pairs, strict=True)],
                alpha=-lr * 0.2 * max(rows, columns) ** 0.5,
            )

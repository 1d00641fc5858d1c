"""One comparison with a golden tensor, and the limits they are held to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..sampling.bits import BitChooser

LIMITS = {
    # name: (CPU, GPU with TF32 off), absolute
    "logits": (2e-4, 2e-3),
    "activation": (2e-4, 2e-3),
    "entropy": (2e-4, 2e-3),
    "codes": (1e-5, 1e-5),
    "latent": (2e-4, 2e-3),
    "image": (2e-3, 4e-3),
    "source": (1e-4, 2e-3),  # a source picture's features, and its keys
    "stream": (3e-4, 3e-3),  # and its values and residual
    "rotation": (1e-6, 1e-6),
    "noise": (0.0, 0.0),
    "share": (2e-3, 2e-3),
    "feature": (1e-5, 1e-4),
    "mixture": (1e-5, 1e-4),  # of the largest value: mixtures reach hundreds
    "level": (1.0, 1.0),
    "bits": (0.0, 0.0),
    "exact": (0.0, 0.0),
}
TIE_MARGIN = 5e-5
"""Two correct float32 implementations differ by up to 2e-5 in a logit: a greedy bit whose two
logits lie closer than this may fall either way. Such bits are counted apart, as ties."""


@dataclass(frozen=True)
class Check:
    """Difference of one tensor to its golden value.

    Attributes:
        name: where and what, such as "runs/greedy logits.3".
        difference: largest absolute difference; for bits, how many differ.
        limit: most allowed.
        note: what else is worth knowing.
    """

    name: str
    difference: float
    limit: float
    note: str = ""

    @property
    def passed(self) -> bool:
        # A NaN compares false and so is a miss.
        return self.difference <= self.limit


def limit_of(kind: str, device: torch.device) -> float:
    return LIMITS[kind][0 if device.type == "cpu" else 1]


def compare(name: str, kind: str, found: Tensor, golden: Tensor, note: str = "",
            times: float = 1.0) -> Check:
    """Largest absolute difference; other shapes are an infinite one.

    Args:
        times: what the limit is multiplied with.
    """
    limit = limit_of(kind, found.device) * times
    if found.shape != golden.shape:
        return Check(name, math.inf, limit,
                     f"shape {tuple(found.shape)}, golden {tuple(golden.shape)}")
    if not found.numel():
        return Check(name, 0.0, limit, note)
    # MPS has no float64.
    difference = (found.detach().cpu().double() - golden.cpu().double()).abs().max().item()
    return Check(name, difference, limit, note)


def compare_best(
    name: str, kind: str, candidates: dict[str, Tensor], golden: Tensor
) -> Check:
    """The candidate nearest to the golden value; its label becomes the note.

    For crops whose place a fixture does not state: only one place can match.
    """
    checks = [compare(name, kind, found, golden, label) for label, found in candidates.items()]
    return min(checks, key=lambda c: c.difference)


class Recorder:
    """A bit chooser that compares each choice with the recording and goes on with the recording,
    so that one near-tie does not spoil every later scale.

    Args:
        choose: the engine's own chooser; None = the recording was forced, nothing is compared.
        golden: bits per scale, [B, N, d].
        prefix: for the names of the checks.
        times: what each scale's ``TIE_MARGIN`` is multiplied with; None = 1.
    """

    def __init__(self, choose: BitChooser | None, golden: list[Tensor], prefix: str,
                 times: Sequence[float] | None = None) -> None:
        self.choose, self.golden, self.prefix = choose, golden, prefix
        self.times = times
        self.checks: list[Check] = []

    def __call__(self, scale: int, logits: Tensor) -> Tensor:
        golden = self.golden[scale].to(logits.device)
        if self.choose is None:
            return golden
        bits, name = self.choose(scale, logits), f"{self.prefix} bits.{scale}"
        if bits.shape != golden.shape:
            self.checks.append(Check(name, math.inf, 0.0, f"shape {tuple(bits.shape)}, golden "
                                     f"{tuple(golden.shape)}"))
            return bits
        pairs = logits.unflatten(-1, (-1, 2))
        margin = TIE_MARGIN * (1.0 if self.times is None else self.times[scale])
        tied = (pairs[..., 1] - pairs[..., 0]).abs() < margin
        differ = bits != golden
        ties = int((differ & tied).sum())
        self.checks.append(Check(name, float((differ & ~tied).sum()), 0.0,
                                 f"{ties} near-ties differ" if ties else ""))
        return golden

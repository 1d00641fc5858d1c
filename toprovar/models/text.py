"""Text conditioning inside the transformer: packed features, pooling, projections.

Features of several prompts travel packed, without padding. They are unpacked to [R, L, C] with a
mask only where rows differ in length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ops.attention import attention


@dataclass(frozen=True)
class PackedText:
    """Text features of several prompts, one after the other.

    Attributes:
        features: [sum(lengths), C] .
        lengths: tokens of each prompt, all at least 1.
        notes: what the encoder could not make of the prompts, for the report.
    """

    features: Tensor
    lengths: tuple[int, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.lengths or min(self.lengths) < 1:
            raise ValueError(f"every prompt needs at least one token, got lengths {self.lengths}")
        if self.features.ndim != 2 or self.features.shape[0] != sum(self.lengths):
            raise ValueError(
                f"packed text has shape {tuple(self.features.shape)}, "
                f"expected [{sum(self.lengths)}, channels] for lengths {self.lengths}"
            )

    def __len__(self) -> int:
        return len(self.lengths)

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> PackedText:
        return PackedText(self.features.to(device, dtype), self.lengths, self.notes)

    def rows(self) -> tuple[Tensor, ...]:
        """[length, C] of each prompt."""
        return self.features.split(self.lengths)

    def part(self, first: int, stop: int) -> PackedText:
        """Prompts ``first`` to ``stop - 1``."""
        rows = self.rows()[first:stop]
        return PackedText(torch.cat(rows), self.lengths[first:stop])

    def repeat_each(self, count: int) -> PackedText:
        """Every prompt ``count`` times in a row (a, a, b, b for 2)."""
        if count == 1:
            return self
        rows = [row for row in self.rows() for _ in range(count)]
        return PackedText(torch.cat(rows), tuple(n for n in self.lengths for _ in range(count)))

    @staticmethod
    def join(parts: Sequence[PackedText]) -> PackedText:
        return PackedText(
            torch.cat([p.features for p in parts]), tuple(n for p in parts for n in p.lengths)
        )


def linear_fp32(x: Tensor, layer: nn.Linear) -> Tensor:
    """The layer in float32 whatever its storage."""
    bias = None if layer.bias is None else layer.bias.float()
    return F.linear(x.float(), layer.weight.float(), bias)


class TextPool(nn.Module):
    """One learned query per head attends to a prompt's tokens: [L, Ct] -> [C].

    The number of heads follows the text width (Ct / 128), the head size the model's (C / heads).
    """

    def __init__(self, text_channels: int, width: int, heads: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(1, heads, width // heads))
        self.to_kv = nn.Linear(text_channels, 2 * width, bias=False)
        self.v_bias = nn.Parameter(torch.empty(width))
        self.register_buffer("zero_k_bias", torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, text: PackedText) -> Tensor:
        """[R, C] float32 of R prompts."""
        _, heads, size = self.query.shape
        k, v = linear_fp32(text.features, self.to_kv).chunk(2, dim=-1)
        v = v + self.v_bias.float()
        query = self.query.float().transpose(0, 1)[None]  # [1, heads, 1, size]
        pooled = []
        for k_row, v_row in zip(k.split(text.lengths), v.split(text.lengths), strict=True):
            k_row, v_row = (t.view(1, -1, heads, size).transpose(1, 2) for t in (k_row, v_row))
            pooled.append(attention(query, k_row, v_row, size**-0.5).reshape(1, -1))
        return linear_fp32(torch.cat(pooled), self.proj)


class TextProjection(nn.Module):
    """Linear, tanh-GELU, Linear: text features to the model's width for cross-attention."""

    def __init__(self, text_channels: int, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(text_channels, width)
        self.fc2 = nn.Linear(width, width)

    def forward(self, features: Tensor) -> Tensor:
        hidden = F.gelu(linear_fp32(features, self.fc1), approximate="tanh")
        return linear_fp32(hidden, self.fc2)


class RMSNorm(nn.Module):
    """x / rms(x) * weight, in float32."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight.float()


def pad_rows(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
    """[L_r, C] of each row -> [R, max L, C] and the mask [R, 1, 1, max L] of real tokens.

    The mask is None when all rows have one length.
    """
    lengths = [row.shape[0] for row in rows]
    longest = max(lengths)
    if min(lengths) == longest:
        return torch.stack(list(rows)), None
    padded = rows[0].new_zeros(len(rows), longest, rows[0].shape[1])
    mask = torch.zeros(len(rows), 1, 1, longest, dtype=torch.bool, device=padded.device)
    for r, row in enumerate(rows):
        padded[r, : lengths[r]] = row
        mask[r, ..., : lengths[r]] = True
    return padded, mask

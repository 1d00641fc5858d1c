"""Cross-attention to a short text with the projections absorbed into the text.

With L text tokens, H heads and C channels, queries and output projection cost 4 C^2 operations a
token, although each head only ever compares its query with L keys. Multiplying the query
projection into the keys and the output projection into the values first, once for many tokens,

    scores = y (W_q^T k_h^T)          [C, H L]
    update = softmax(scores) (v_h W_o,h)   [H L, C]

leaves 4 C H L: a quarter for 24 tokens of text and heads of 96. The norm's gain and shift go into
the first product and both biases cost nothing (the weights of a head add up to 1, so the output
bias is spread over the heads). The result goes straight into the residual.

Bytes: reads y [N, C], reads and writes the residual [N, C]; the product of H L is small. float32
only: in half precision the scores would be rounded before the softmax.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class AbsorbedText:
    """A text with the projections of one block multiplied in.

    Attributes:
        keys: [R, C, H L].
        bias: [R, 1, H L].
        values: [R, H L, C].
        heads: H.
    """

    keys: Tensor
    bias: Tensor
    values: Tensor
    heads: int

    @property
    def nbytes(self) -> int:
        return 4 * (self.keys.numel() + self.bias.numel() + self.values.numel())

    def from_row(self, first: int) -> AbsorbedText:
        """The same from row ``first`` on, as views."""
        return AbsorbedText(self.keys[first:], self.bias[first:], self.values[first:], self.heads)


def pays(tokens: int, text: int, heads: int, channels: int, dtype: torch.dtype) -> bool:
    """Whether absorbing is exact enough and cheaper for ``tokens`` tokens a row.

    It must leave at most half the operations, and the products that absorb (as dear as ``text``
    tokens) must be a small part of the whole.
    """
    return dtype == torch.float32 and 2 * heads * text <= channels and tokens >= 4 * text


def absorb(
    text_k: Tensor, text_v: Tensor, q_weight: Tensor, q_bias: Tensor,
    out_weight: Tensor, out_bias: Tensor, gain: Tensor, shift: Tensor,
) -> AbsorbedText:
    """Multiply projections and the norm's affine step into the text.

    Args:
        text_k, text_v: [R, H, L, D].
        q_weight, out_weight: [C, C]; q_bias, out_bias: [C].
        gain, shift: [C] of the norm before the queries.
    """
    rows, heads, length, size = text_k.shape
    scaled = text_k * size**-0.5

    def per_head(text: Tensor, weight: Tensor) -> Tensor:
        """[R, H, L, D] times each head's [D, C]: [R, H, L, C], all rows in one product."""
        joined = text.transpose(0, 1).reshape(heads, rows * length, size)
        return torch.bmm(joined, weight).unflatten(1, (rows, length)).transpose(0, 1)

    keys = per_head(scaled, q_weight.unflatten(0, (heads, size)))
    bias = torch.einsum("rhld,hd->rhl", scaled, q_bias.unflatten(0, (heads, size))) + keys @ shift
    values = per_head(text_v, out_weight.unflatten(1, (heads, size)).permute(1, 2, 0))
    return AbsorbedText(
        keys=(keys * gain).flatten(1, 2).transpose(1, 2),
        bias=bias.flatten(1, 2)[:, None],
        values=(values + out_bias / heads).flatten(1, 2),
        heads=heads,
    )


def absorbed_add_(x: Tensor, y: Tensor, text: AbsorbedText, mask: Tensor | None) -> Tensor:
    """x += cross-attention(y) in place.

    Args:
        x: [R, N, C] float32 residual.
        y: [R, N, C] normalised tokens, without the norm's affine step.
        mask: [R, 1, 1, L] bool of real text tokens, or None.
    """
    scores = torch.baddbmm(text.bias, y, text.keys).unflatten(-1, (text.heads, -1))
    if mask is not None:
        scores.masked_fill_(~mask, float("-inf"))
    return x.baddbmm_(scores.softmax(-1).flatten(-2), text.values)

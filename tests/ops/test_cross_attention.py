from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from toprovar.ops.cross_attention import absorb, absorbed_add_, pays
from toprovar.ops.cross_attention.reference import cross_attention


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("heads", "size", "text"), [(2, 16, 5), (8, 96, 24), (1, 64, 1)])
def test_against_reference(masked: bool, heads: int, size: int, text: int) -> None:
    c, rows, n = heads * size, 2, 11
    text_k, text_v = torch.randn(2, rows, heads, text, size).unbind(0)
    q_weight, out_weight = (torch.randn(2, c, c) * c**-0.5).unbind(0)
    q_bias, out_bias, gain, shift = torch.randn(4, c).unbind(0)
    x = torch.randn(rows, n, c)
    y = F.layer_norm(x, (c,))
    mask, real = None, text
    if masked:
        real = text // 2 + 1
        mask = (torch.arange(text) < real).view(1, 1, 1, text).expand(rows, 1, 1, text)
    absorbed = absorb(text_k, text_v, q_weight, q_bias, out_weight, out_bias, gain, shift)
    expected = x + cross_attention(
        y * gain + shift, text_k[:, :, :real], text_v[:, :, :real], q_weight, q_bias, out_weight,
        out_bias,
    )
    torch.testing.assert_close(absorbed_add_(x.clone(), y, absorbed, mask), expected,
                               atol=3e-5, rtol=1e-5)


def test_when_it_pays() -> None:
    assert pays(400, 24, 8, 768, torch.float32)
    assert not pays(400, 24, 8, 768, torch.bfloat16)  # scores would be rounded
    assert not pays(90, 24, 8, 768, torch.float32)  # absorbing would cost more than it saves
    assert not pays(4000, 60, 8, 768, torch.float32)  # long text: no fewer operations

from __future__ import annotations

import pytest
import torch

from toprovar.models.rope import rotation_table
from toprovar.ops import qk_rope
from toprovar.ops.qk_rope import reference


@pytest.mark.parametrize("head_dim", [8, 48, 96, 128])
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("per_row", [True, False])
def test_against_reference(head_dim: int, scaled: bool, per_row: bool) -> None:
    x = torch.randn(2, 12, 3, head_dim) * 5
    rotation = rotation_table((3, 4), (30, 40), head_dim)
    if per_row:
        rotation = torch.stack([rotation, rotation.flip(0)])
    scale = torch.tensor([1.0, 7.0, 100.0]) if scaled else None
    # Into a strided view, as the KV cache gives it
    out = torch.empty(12, 2, 3, head_dim).transpose(0, 1)
    qk_rope.normalise_rotate(x.clone(), rotation.contiguous(), out, scale)
    expected = reference.normalise_rotate(x, rotation, scale)
    torch.testing.assert_close(out, expected, atol=2e-5, rtol=1e-5)
    assert torch.allclose(out.norm(dim=-1)[..., 0], torch.ones(2, 12), atol=1e-5) or scaled


def test_devices_without_complex_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    x, rotation = torch.randn(1, 4, 2, 8), rotation_table((2, 2), (2, 2), 8)
    usual, other = torch.empty_like(x), torch.empty_like(x)
    qk_rope.normalise_rotate(x.clone(), rotation, usual)
    monkeypatch.setattr(qk_rope, "COMPLEX_DEVICES", ())
    qk_rope.normalise_rotate(x.clone(), rotation, other)
    torch.testing.assert_close(usual, other)

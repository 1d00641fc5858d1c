"""Attention to texts of uneven lengths against its definition in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks.attention_entropy_check import OUT_TOLERANCE
from tests.ops.lanes import KERNEL_LANES, LANES, Lane, poisoned
from toprovar.ops.registry import Call
from toprovar.ops.text_attention import HEAD_SIZES, TEXT_ATTENTION, text_attention
from toprovar.ops.text_attention.reference import text_attention as definition


def texts(
    lengths: list[int], longest: int, heads: int, size: int, dtype: torch.dtype, device: str,
    between: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Keys, values [R, H, longest, D] in a buffer of NaN, and the lengths on the device."""
    room = poisoned((2, len(lengths), heads, longest, size + between), dtype, device)[..., :size]
    for row, length in enumerate(lengths):
        room[:, row, :, :length] = torch.rand(2, heads, length, size, device=device) * 2 - 1
    keys, values = room.unbind(0)
    return keys, values, torch.tensor(lengths, dtype=torch.int32, device=device)


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("dtype", list(OUT_TOLERANCE))
@pytest.mark.parametrize("size", HEAD_SIZES)
def test_head_sizes_and_dtypes(lane: Lane, dtype: torch.dtype, size: int) -> None:
    keys, values, lengths = texts([1, 37, 64], 70, 2, size, dtype, lane.device)
    # The middle third of a wider projection
    q = torch.randn(3, 35, 3 * 2 * size, device=lane.device).to(dtype)[..., 2 * size : 4 * size]
    found = text_attention(q, keys, values, lengths, 0.5, backend=lane.backend)
    expected = definition(q.unflatten(-1, (2, size)), keys, values, lengths, 0.5)
    assert found.shape == (3, 35, 2 * size) and found.is_contiguous()
    torch.testing.assert_close(found, expected, atol=OUT_TOLERANCE[dtype], rtol=0)


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("tokens", [1, 16, 130])
@pytest.mark.parametrize("between", [0, 8], ids=["dense", "strided"])
def test_long_texts_and_strides(lane: Lane, tokens: int, between: int) -> None:
    keys, values, lengths = texts([130, 2], 133, 3, 64, torch.float16, lane.device, between)
    q = torch.randn(2, tokens, 3, 64, device=lane.device).half()
    room = poisoned((2, tokens + 2, 3 * 64), torch.float16, lane.device)
    out = room[:, 1:-1]
    assert text_attention(q, keys, values, lengths, 0.3, out=out, backend=lane.backend) is out
    torch.testing.assert_close(out, definition(q, keys, values, lengths, 0.3),
                               atol=OUT_TOLERANCE[torch.float16], rtol=0)
    assert room[:, 0].isnan().all() and room[:, -1].isnan().all()


@pytest.mark.parametrize("lane", [p for p in KERNEL_LANES if p.id == "gpu"])
@pytest.mark.parametrize("heads", [16, 28])
@pytest.mark.parametrize("tokens", [1, 100, 4096])
def test_sizes_of_the_released_models(lane: Lane, heads: int, tokens: int) -> None:
    keys, values, lengths = texts([1, 23, 200, 512], 512, heads, 128, torch.bfloat16, lane.device)
    q = torch.randn(4, tokens, heads, 128, device=lane.device).bfloat16()
    found = text_attention(q, keys, values, lengths, 128**-0.5, backend=lane.backend)
    torch.testing.assert_close(found, definition(q, keys, values, lengths, 128**-0.5),
                               atol=OUT_TOLERANCE[torch.bfloat16], rtol=0)


@pytest.mark.parametrize("lane", [p for p in KERNEL_LANES if p.id == "gpu"])
@pytest.mark.parametrize("backend", ["triton", "torch"])
def test_one_recording_serves_any_length(lane: Lane, backend: str) -> None:
    keys, values, lengths = texts([5, 90], 100, 4, 128, torch.bfloat16, lane.device)
    q = torch.randn(2, 70, 4, 128, device=lane.device).bfloat16()
    text_attention(q, keys, values, lengths, 0.1, backend=backend)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = text_attention(q, keys, values, lengths, 0.1, backend=backend)
    for new in ([3, 100], [77, 1]):
        other = texts(new, 100, 4, 128, torch.bfloat16, lane.device)
        for mine, theirs in zip((keys, values, lengths), other, strict=True):
            mine.copy_(theirs)
        graph.replay()
        torch.testing.assert_close(found, definition(q, keys, values, lengths, 0.1),
                                   atol=OUT_TOLERANCE[torch.bfloat16], rtol=0)


def test_what_does_not_fit_is_said() -> None:
    keys, values, lengths = texts([3, 2], 4, 2, 64, torch.float32, "cpu")
    q = torch.randn(2, 5, 128)
    with pytest.raises(ValueError, match=r"found q \[2, 5, 120\], k \[2, 2, 4, 64\]"):
        text_attention(q[..., :120], keys, values, lengths, 1.0)
    with pytest.raises(ValueError, match=r"expected lengths int32 of shape \[2\]"):
        text_attention(q, keys, values, lengths.long(), 1.0)
    with pytest.raises(ValueError, match="must have one dtype"):
        text_attention(q, keys.half(), values.half(), lengths, 1.0)
    with pytest.raises(ValueError, match="finite number of at least 0, got -1"):
        text_attention(q, keys, values, lengths, -1.0)
    with pytest.raises(ValueError, match=r"out must be \[2, 5, 128\] torch.float32"):
        text_attention(q, keys, values, lengths, 1.0, out=torch.empty(2, 5, 64))
    explained = TEXT_ATTENTION.explain(Call(q.device, q.dtype, 48))
    assert explained["torch"] == "chosen"

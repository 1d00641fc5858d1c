"""What only a GPU can show: sizes of the released models, and that nothing waits for the device."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.ops.lanes import KERNEL_LANES, Lane
from toprovar.ops import adaln, qk_rope
from toprovar.ops.bit_sampling import sample_bits_fast, seed_tensor
from toprovar.ops.resize_tokens import resize_map, resize_tokens
from toprovar.ops.token_merge import merge_update_
from toprovar.ops.token_select import LayerCounts, select_in_layers, select_tokens

GPU = [param for param in KERNEL_LANES if param.id == "gpu"]


def sparse_step(
    heads: int, backend: str, device: str
) -> tuple[Callable[[], dict[str, Tensor]], Tensor]:
    """One layer's token operations at 64 x 64, 40 % kept, on fixed inputs, and its residual."""
    torch.manual_seed(7)
    rows, side, size, width = 2, 64, 128, heads * 128
    tokens, count = side * side, 1664
    x = torch.randn(rows, tokens, width, device=device)
    gate, gain, shift = torch.randn(3, rows, width, device=device).unbind(0)
    scores = torch.rand(tokens, device=device)
    cached = torch.randn(rows, 48 * 48, width, device=device).bfloat16()
    qkv = torch.randn(rows, count, 3, heads, size, device=device).bfloat16()
    angle = torch.rand(tokens, size // 2, device=device) * 64
    rotation = torch.stack([angle.cos(), angle.sin()], -1)
    cache = torch.zeros(3, rows, heads, count + 100, size, device=device, dtype=torch.bfloat16)
    update = torch.randn(rows, count, width, device=device).bfloat16()
    logits = torch.randn(rows, tokens, 64, device=device)
    seeds = seed_tensor([5], device)
    maps = torch.rand(3, 1, 48, 48, device=device)
    counts = LayerCounts.of([1664, 64, 640], device)

    def step() -> dict[str, Tensor]:
        index = select_tokens(scores, (side, side), count, region=8, min_per_region=6,
                              backend=backend)
        y = adaln.modulated_norm(x, gain, shift, torch.bfloat16, index, backend=backend)
        q, k, v = cache[..., 100:, :].transpose(2, 3).unbind(0)
        qk_rope.rotate_qkv(qkv.clone(), rotation, q, k, v, None, index, backend=backend)
        z = adaln.gated_add_norm(x, update, gate, gain, shift, torch.bfloat16, index,
                                 backend=backend)
        adaln.gated_add_(x, update, gate, index, backend=backend)
        by_layer = select_in_layers(scores.expand(3, 1, -1), (side, side), counts, region=8,
                                    min_per_region=1, backend=backend)
        merge_update_(x, update, index, cached, (48, 48), (side, side), gate=gate, backend=backend)
        return {
            "index": index, "by layer": torch.cat(by_layer, -1),
            "maps": resize_map(maps, (side, side), backend=backend),
            "y": y, "z": z, "x": x, "cache": cache,
            "resized": resize_tokens(cached, (48, 48), (side, side), backend=backend),
            "bits": sample_bits_fast(logits, seeds, 12, cfg=3.0, tau=0.5, top_p=0.97,
                                     backend=backend),
        }

    return step, x


@pytest.mark.parametrize("lane", GPU)
@pytest.mark.parametrize("heads", [16, 28])
def test_kernels_agree_with_torch_at_full_size(lane: Lane, heads: int) -> None:
    found = sparse_step(heads, "triton", lane.device)[0]()
    expected = sparse_step(heads, "torch", lane.device)[0]()
    for name, value in found.items():
        if value.is_floating_point():
            torch.testing.assert_close(value.float(), expected[name].float(), atol=0.06, rtol=0.02)
        else:
            assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("lane", GPU)
def test_recorded_in_a_cuda_graph_without_waiting(lane: Lane) -> None:
    step, x = sparse_step(16, "triton", lane.device)
    start = x.clone()
    step()  # compiles
    torch.cuda.synchronize()
    x.copy_(start)
    torch.cuda.set_sync_debug_mode("error")
    try:
        results = step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected = {name: value.clone() for name, value in results.items()}
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        recorded = step()
    x.copy_(start)
    graph.replay()
    torch.cuda.synchronize()
    for name, value in recorded.items():
        assert torch.equal(value, expected[name]), name

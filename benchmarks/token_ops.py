"""Time of the token operations, plain torch against the kernels, at a released model's sizes.

    python -m benchmarks.token_ops [--device cuda] [--width 2048] [--side 64] [--keep 0.4]

For each operation: the bytes that must move (see the operation's README), the time of each backend
that serves the device, and for each the bytes a second that this makes. With --graph (CUDA) calls
are replayed from a CUDA graph, so that the time to launch them does not count. Inputs are larger
than the caches only if the sizes are: at small ones the rates exceed the memory's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import describe, timed
from toprovar.devices import choose_device
from toprovar.files import replace_file
from toprovar.ops import adaln, bit_sampling, fp8_linear, linear_gelu, qk_rope
from toprovar.ops.bit_sampling.fast import FAST
from toprovar.ops.fp8 import E4M3
from toprovar.ops.registry import Call, Op
from toprovar.ops.resize_tokens import RESIZE, RESIZE_MAP, resize_map, resize_tokens
from toprovar.ops.text_attention import TEXT_ATTENTION, text_attention
from toprovar.ops.token_index import token_slots
from toprovar.ops.token_merge import MERGE, merge_update_
from toprovar.ops.token_select import (
    SELECT,
    SELECT_IN_LAYERS,
    LayerCounts,
    select_in_layers,
    select_tokens,
)
from toprovar.ops.widen_cache import WIDEN_CACHE, widen_cache

HEAD = 128
ROWS = 2
"""Conditional and unconditional."""
LAYERS = 32
"""That choose their tokens together."""
TEXTS = (32, 128, 512)
"""Tokens of text, in a buffer for the longest."""


@dataclass(frozen=True)
class Case:
    """One operation on fixed inputs.

    Attributes:
        call: takes the backend's name.
        moved: bytes that must be read and written whatever the implementation.
        key: what the choice of a backend depends on.
    """

    name: str
    op: Op
    call: Callable[[str], object]
    moved: int
    key: Call


def cases(width: int, side: int, keep: float, dtype: torch.dtype, device: torch.device
          ) -> list[Case]:
    """Every operation at one scale of ``side`` x ``side`` tokens, ``keep`` of them kept."""
    tokens, heads = side * side, width // HEAD
    count = -(-int(tokens * keep) // 64) * 64
    source = max(side * 3 // 4, 1)
    small = torch.empty(0, dtype=dtype).element_size()

    def rand(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device)

    x, update = rand(ROWS, tokens, width), rand(ROWS, tokens, width).to(dtype)
    gate, gain, shift = rand(3, ROWS, width).unbind(0)
    scores, logits = rand(tokens), rand(ROWS, tokens, 64)
    index = select_tokens(scores, (side, side), count)
    slots = token_slots(index, tokens)
    cached = rand(ROWS, source * source, width).to(dtype)
    qkv = rand(ROWS, count, 3, heads, HEAD).to(dtype)
    turn = rand(tokens, HEAD // 2, 2)
    cache = torch.empty(3, ROWS, heads, count, HEAD, dtype=dtype, device=device)
    q, k, v = cache.transpose(2, 3).unbind(0)
    seeds = bit_sampling.seed_tensor([1], device)
    weight, bias = rand(4 * width, width).to(dtype), rand(4 * width).to(dtype)

    part, kept = update[:, :count], ROWS * count * width
    full, old = ROWS * tokens * width, cached.numel()
    wide = Call(device, x.dtype, width)
    grids = ((source, source), (side, side))

    def of(name: str, op: Op, call: Callable[[str], object], moved: int, key: Call = wide) -> Case:
        return Case(name, op, call, moved, key)

    return [
        of("modulated_norm", adaln.MODULATED_NORM,
           lambda b: adaln.modulated_norm(x, gain, shift, dtype, backend=b), full * (4 + small)),
        of("modulated_norm, gathered", adaln.MODULATED_NORM,
           lambda b: adaln.modulated_norm(x, gain, shift, dtype, index, backend=b),
           kept * (4 + small)),
        of("gated_add_", adaln.GATED_ADD,
           lambda b: adaln.gated_add_(x, update, gate, backend=b), full * (8 + small)),
        of("gated_add_, scattered", adaln.GATED_ADD,
           lambda b: adaln.gated_add_(x, part, gate, index, backend=b), kept * (8 + small)),
        of("gated_add_norm", adaln.GATED_ADD_NORM,
           lambda b: adaln.gated_add_norm(x, update, gate, gain, shift, dtype, backend=b),
           full * (8 + 2 * small)),
        of("rotate_qkv, gathered", qk_rope.ROTATE_QKV,
           lambda b: qk_rope.rotate_qkv(qkv, turn, q, k, v, None, index, backend=b),
           kept * 6 * small, Call(device, dtype, HEAD)),
        of("resize_tokens, area", RESIZE,
           lambda b: resize_tokens(cached, *grids, "area", backend=b),
           (old + full) * small, Call(device, dtype, width)),
        of("merge_update_, area", MERGE,
           lambda b: merge_update_(x, part, index, cached, *grids, gate=gate, slots=slots,
                                   backend=b),
           full * 8 + (kept + old) * small),
        of("select_tokens", SELECT,
           lambda b: select_tokens(scores, (side, side), count, backend=b),
           tokens * 4 + count * 8, Call(device, scores.dtype, tokens)),
        of("select_tokens, regions", SELECT,
           lambda b: select_tokens(scores, (side, side), count, region=8, min_per_region=4,
                                   backend=b),
           tokens * 4 + count * 8, Call(device, scores.dtype, tokens)),
        of("sample_bits_fast", FAST,
           lambda b: bit_sampling.sample_bits_fast(logits, seeds, 12, cfg=3.0, tau=0.5, top_p=0.97,
                                                   backend=b),
           logits.numel() * 4 + logits.numel() // 4, Call(device, logits.dtype, 64)),
        of("linear_gelu", linear_gelu.LINEAR_GELU,
           lambda b: linear_gelu.linear_gelu(part, weight, bias, backend=b),
           (kept * 5 + 4 * width * width) * small, Call(device, dtype, width)),
        *_engine_cases(width, side, count, dtype, device),
    ]


def _engine_cases(width: int, side: int, count: int, dtype: torch.dtype, device: torch.device
                  ) -> list[Case]:
    """Operations of the recorded engine, on all tokens, and of 8-bit numbers."""
    tokens, heads, source = side * side, width // HEAD, max(side * 3 // 4, 1)
    small, full = dtype.itemsize, ROWS * tokens * width
    q, hidden = (torch.randn(ROWS, tokens, c, device=device).to(dtype) for c in (width, 4 * width))
    room = torch.randn(2, ROWS, heads, TEXTS[-1], HEAD, device=device).to(dtype)
    maps = torch.rand(LAYERS, 1, source, source, device=device)
    scores = torch.rand(LAYERS, 1, tokens, device=device)
    counts = LayerCounts.of([count - 64 * (i % 2) for i in range(LAYERS)], device)
    x = torch.randn(ROWS, tokens, width, device=device)
    update = q.clone()
    gate, gain, shift = torch.randn(3, ROWS, width, device=device).unbind(0)
    rounded = fp8_linear.quantize_rows(q)
    weight = fp8_linear.Fp8Weight.of(torch.randn(4 * width, width, device=device))
    qkv = torch.randn(ROWS, tokens, 3, heads, HEAD, device=device).to(dtype)
    turn = torch.randn(tokens, HEAD // 2, 2, device=device)
    stored = torch.zeros(2, ROWS, heads, tokens, HEAD, device=device).to(E4M3)
    k, v = stored.transpose(2, 3).unbind(0)
    factors, scratch = (1 / 448, 0.02), torch.empty(stored.shape, dtype=dtype, device=device)
    turned = torch.empty_like(qkv[:, :, 0])
    wide, by_head = Call(device, x.dtype, width), Call(device, dtype, HEAD)

    def to_text(length: int) -> Case:
        lengths = torch.full((ROWS,), length, dtype=torch.int32, device=device)
        return Case(
            f"text_attention, {length} keys", TEXT_ATTENTION,
            lambda b: text_attention(q, room[0], room[1], lengths, HEAD**-0.5, backend=b),
            (2 * full + 2 * ROWS * width * length) * small, by_head)

    return [
        *map(to_text, TEXTS),
        Case("resize_map, all layers", RESIZE_MAP,
             lambda b: resize_map(maps, (side, side), backend=b),
             4 * (maps.numel() + scores.numel()), Call(device, maps.dtype, 1)),
        Case("select_in_layers", SELECT_IN_LAYERS,
             lambda b: select_in_layers(scores, (side, side), counts, backend=b),
             scores.numel() * 4 + sum(counts.each) * 8, Call(device, scores.dtype, tokens)),
        Case("modulated_norm_fp8", adaln.MODULATED_NORM_FP8,
             lambda b: adaln.modulated_norm_fp8(x, gain, shift, backend=b), full * 5, wide),
        Case("gated_add_norm_fp8", adaln.GATED_ADD_NORM_FP8,
             lambda b: adaln.gated_add_norm_fp8(x, update, gate, gain, shift, backend=b),
             full * (9 + small), wide),
        Case("quantize_rows", fp8_linear.QUANTIZE_ROWS,
             lambda b: fp8_linear.quantize_rows(q, backend=b), full * (1 + small),
             Call(device, dtype, width)),
        Case("gelu_quantize", fp8_linear.GELU_QUANTIZE,
             lambda b: fp8_linear.gelu_quantize(hidden, backend=b), 4 * full * (1 + small),
             Call(device, dtype, 4 * width)),
        Case("fp8_linear", fp8_linear.FP8_LINEAR,
             lambda b: fp8_linear.fp8_linear(*rounded, weight, backend=b),
             full + weight.nbytes + 4 * full * 2, Call(device, E4M3, width)),
        Case("rotate_qkv_fp8", qk_rope.ROTATE_QKV_FP8,
             lambda b: qk_rope.rotate_qkv(qkv, turn, turned, k, v, factors=factors, backend=b),
             full * (4 * small + 2), by_head),
        Case("widen_cache", WIDEN_CACHE,
             lambda b: widen_cache(stored[0], stored[1], factors, scratch, backend=b),
             stored.numel() * (1 + small), by_head),
    ]


def seconds_of(call: Callable[[], object], device: torch.device, runs: int, graph: bool) -> float:
    """Median seconds of a call; several are timed together where one is short."""
    repeat = 1
    if graph:
        call()
        torch.cuda.synchronize(device)
        recording = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recording):
            call()
        call = recording.replay
    once = median(timed(call, device, 3))
    repeat = max(1, min(100, int(2e-3 / max(once, 1e-6))))
    return median(timed(lambda: [call() for _ in range(repeat)], device, runs)) / repeat


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--width", type=int, default=2048, help="channels, a multiple of 128")
    parser.add_argument("--side", type=int, default=64, help="the scale has side x side tokens")
    parser.add_argument("--keep", type=float, default=0.4, help="share of tokens kept")
    parser.add_argument("--dtype", default=None, help="of the products: bfloat16 on a GPU, "
                                                      "float32 on a CPU")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--graph", action="store_true", help="replay from a CUDA graph")
    parser.add_argument("--only", help="operations whose name contains this")
    parser.add_argument("--json", type=Path, help="write the result here")
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    name = arguments.dtype or ("bfloat16" if device.type == "cuda" else "float32")
    if arguments.graph and device.type != "cuda":
        parser.error("--graph needs a CUDA device")
    results: list[dict[str, Any]] = []
    with torch.inference_mode():
        for case in cases(arguments.width, arguments.side, arguments.keep, getattr(torch, name),
                          device):
            if arguments.only and arguments.only not in case.name:
                continue
            found: dict[str, float] = {}
            for backend in case.op.backends:
                if case.op.explain(case.key)[backend.name] != "chosen" and backend.name != "torch":
                    continue
                found[backend.name] = seconds_of(
                    lambda case=case, name=backend.name: case.call(name), device, arguments.runs,
                    arguments.graph,
                )
            results.append({"operation": case.name, "bytes": case.moved, "seconds": found})
            print(f"{case.name:26} {case.moved / 1e6:8.2f} MB  " + "  ".join(
                f"{backend} {s * 1e6:9.1f} us {case.moved / s / 1e9:7.1f} GB/s"
                for backend, s in found.items()))
    if arguments.json:
        result = {
            "command": " ".join(["python -m benchmarks.token_ops", *sys.argv[1:]]),
            "machine": describe(device), "width": arguments.width, "side": arguments.side,
            "keep": arguments.keep, "dtype": name, "graph": arguments.graph, "results": results,
        }
        replace_file(arguments.json, (json.dumps(result, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

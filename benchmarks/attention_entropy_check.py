"""The attention entropy kernel against float64 on the shapes of real models.

Plain comparisons that need neither pytest nor hypothesis: ``python -m benchmarks.attention_entropy
--check`` runs them, and so does the GPU lane of the tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from toprovar.ops.attention_entropy import (
    HEAD_SIZES,
    attention_entropy,
    attention_with_entropy,
)

SIDES = (1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64)
"""Tokens a side at one megapixel, square."""
OUT_TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 2**-7, torch.float16: 2**-10}
"""Largest error of outputs for |v| <= 1: float32's comes from logits up to 100, the others' from
rounding (the interpreter cuts bfloat16 off instead of rounding it)."""
ENTROPY_TOLERANCE = 1e-5
"""Of every dtype: sums are float32. See ``entropy_bound`` for large logits."""

Case = tuple[str, int, int, int, int, int, torch.dtype, float]


def entropy_bound(scale: float) -> float:
    """Largest error of an entropy for unit queries and keys. A float32 logit near ``scale`` is off
    by half a unit of its last place, whatever computes it, and its entropy with it."""
    return ENTROPY_TOLERANCE + scale * 2**-24


def cases(device: torch.device) -> Iterator[Case]:
    """Name, rows, heads, queries, keys, head size, dtype, logit scale."""
    if device.type != "cuda":
        for d in (64, 96):
            yield f"small, D={d}", 1, 2, 33, 150, d, torch.float32, 30.0
        return
    for model, heads in (("2B", 16), ("8B", 28)):
        keys = 0
        for i, side in enumerate(SIDES):
            keys += side * side
            if i >= 7:
                yield (f"{model}, scale {i + 1}", 2, heads, side * side, keys, 128,
                       torch.bfloat16, (4.0, 30.0, 100.0)[i % 3])
    # Each head size and dtype is compiled anew, which takes seconds: enough rows for the usual
    # tile, the one for few rows only once. float16 takes the road of bfloat16.
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for d in HEAD_SIZES if dtype != torch.float16 else (96, 128):
            yield "head size", 2, 16, 1101, 1031, d, dtype, 100.0
        yield "few keys", 2, 2, 17, 5, 128, dtype, 20.0
    yield "float32, scale 13", 1, 2, 4096, 10521, 128, torch.float32, 100.0


def check(device: torch.device) -> list[dict[str, Any]]:
    """Run all cases; prints and returns one row each."""
    found = []
    for case in cases(device):
        row = check_case(device, *case)
        found.append(row)
        print(f"{'ok  ' if row['passed'] else 'FAIL'} {row['case']:60} out {row['out']:.1e}  "
              f"entropy {row['entropy']:.1e}  mean {row['mean']:.1e}", flush=True)
    found += [special(device)]
    return found


def check_case(
    device: torch.device, name: str, rows: int, heads: int, n: int, m: int, d: int,
    dtype: torch.dtype, scale: float,
) -> dict[str, Any]:
    """Largest errors of one case, with outputs poisoned first and keys in a longer cache."""
    g = torch.Generator(device).manual_seed(n * m + d)

    def draw(tokens: int) -> Tensor:
        return torch.randn(rows, heads, tokens, d, generator=g, device=device)

    q = F.normalize(draw(n), dim=-1).to(dtype)
    cache = torch.full((2, rows, heads, m + 7, d), float("nan"), dtype=dtype, device=device)
    k, v = cache[0, :, :, 3 : m + 3], cache[1, :, :, 3 : m + 3]
    k.copy_(F.normalize(draw(m), dim=-1))
    k[:, :, m // 2 : m // 2 + 3] = q[:, :, :3][:, :, : min(3, m - m // 2)]  # some one-hot rows
    v.copy_(draw(m).clamp_(-1, 1))
    out = torch.full_like(q, float("nan"))
    entropy = torch.full((rows, heads, n), float("nan"), device=device)
    backend = "triton" if device.type == "cuda" else "auto"
    attention_with_entropy(q, k, v, scale, backend=backend, out=out, entropy_out=entropy)
    mean = attention_entropy(q, k, scale, backend=backend, mean_heads=True)
    again = attention_entropy(q, k, scale, backend=backend, mean_heads=True)
    expected, exact = attention_with_entropy(q, k, v, scale, backend="reference")
    errors = {
        "out": (out.float() - expected.float()).abs().max().item(),
        "entropy": (entropy - exact).abs().max().item(),
        "mean": (mean - exact.mean(1)).abs().max().item(),
    }
    bound = entropy_bound(scale)
    passed = (errors["out"] <= OUT_TOLERANCE[dtype] and errors["entropy"] <= bound
              and errors["mean"] <= bound and bool((entropy >= 0).all())
              and torch.equal(mean, again))
    kind = str(dtype).removeprefix("torch.")
    return {"case": f"{name}: {rows}x{heads}x{n}x{m}, D={d}, {kind}, scale {scale:g}",
            **errors, "passed": passed}


def special(device: torch.device) -> dict[str, Any]:
    """Equal logits, and on a GPU a captured graph that is replayed on new inputs."""
    q = torch.zeros(1, 2, 40, 64, device=device)
    k = torch.randn(1, 2, 777, 64, device=device)
    v = torch.randn_like(k)
    error = (attention_entropy(q, k, 100.0) - torch.tensor(777.0).log()).abs().max().item()
    replayed = 0.0
    if device.type == "cuda":
        q, k, v = (x.to(torch.bfloat16) for x in (q, k, v))

        def call() -> tuple[Tensor, Tensor]:
            return attention_with_entropy(q, k, v, 20.0, heads=[1], mean_heads=True)

        call()
        torch.cuda.synchronize(device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = call()
        q.normal_()
        graph.replay()
        fresh = call()
        torch.cuda.synchronize(device)
        replayed = max((a.float() - b.float()).abs().max().item()
                       for a, b in zip(captured, fresh, strict=True))
    passed = error <= ENTROPY_TOLERANCE and replayed == 0
    print(f"{'ok  ' if passed else 'FAIL'} equal logits {error:.1e}, replayed graph {replayed:.1e}")
    return {"case": "equal logits and replay", "entropy": error, "out": replayed, "mean": 0.0,
            "passed": passed}

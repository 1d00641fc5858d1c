"""Attention with its entropy against attention without, on whatever device is here.

    python -m benchmarks.attention_entropy [--device cuda] [--dtype bf16] [--shapes NAME,...]
                                           [--runs N] [--check] [--tune] [--json FILE]

Every candidate of a shape runs in turn within one round, so that all of them meet the same clocks;
a figure is the median of many rounds, a ratio the median of the rounds' ratios. Inputs are random
and normalised as Infinity's, logits between -20 and 20. Rates count 4 N M D operations a head,
whatever else is computed.

--check compares the kernel with the definition in float64 on the shapes of real models first (no
pytest needed) and exits with 1 where they differ. --tune times other tiles than the table's.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.attention_entropy_check import check
from benchmarks.machine import describe
from toprovar.devices import choose_device, choose_dtype
from toprovar.files import replace_file
from toprovar.ops import attention as plain
from toprovar.ops.attention_entropy import OP, attention_entropy, attention_with_entropy
from toprovar.ops.registry import Call

SHAPES = {
    # name: rows, heads, queries, keys, head size; rows are two for guidance
    "2B scale 13": (2, 16, 4096, 10521, 128),
    "2B scale 12": (2, 16, 2304, 6425, 128),
    "2B scale 10": (2, 16, 1024, 2521, 128),
    "8B scale 13": (2, 28, 4096, 10521, 128),
    "125M scale 7": (2, 8, 256, 521, 96),
    "small": (2, 12, 1600, 4000, 96),
    "tiny": (1, 2, 130, 300, 64),
}
DEFAULT = {"cuda": ["2B scale 13", "2B scale 12", "2B scale 10", "8B scale 13", "small"],
           "cpu": ["small", "125M scale 7"]}
SCALE = 20.0
MOST_NAIVE = 1 << 32
"""Bytes of logits up to which the naive form is tried."""

Candidates = dict[str, Callable[[], object]]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--shapes", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--runs", type=int, help="rounds; default 50 on a GPU, 5 elsewhere")
    parser.add_argument("--threads", type=int, help="of the CPU")
    parser.add_argument("--check", action="store_true", help="compare with float64 first")
    parser.add_argument("--tune", action="store_true", help="time other tiles too")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    device = choose_device(given.device)
    dtype = choose_dtype(given.dtype, device)
    names = given.shapes.split(",") if given.shapes else DEFAULT.get(device.type, ["small"])
    runs = given.runs or (50 if device.type == "cuda" else 5)
    result: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.attention_entropy", *sys.argv[1:]]),
        "machine": describe(device), "dtype": str(dtype).removeprefix("torch."),
        "backends": OP.explain(Call(device, dtype, 128)), "shapes": {},
    }
    failed = False
    if given.check:
        result["check"] = check(device)
        failed = any(not row["passed"] for row in result["check"])
    for name in names:
        result["shapes"][name] = measure(name, device, dtype, runs, given.tune)
        if given.json:  # kept so far, should the time run out
            replace_file(given.json, (json.dumps(result, indent=1) + "\n").encode())
    return 1 if failed else 0


def measure(name: str, device: torch.device, dtype: torch.dtype, runs: int, tune: bool
            ) -> dict[str, Any]:
    """Milliseconds, rate and ratios of every candidate on one shape; printed too."""
    rows, heads, n, m, d = SHAPES[name]
    q, k, v = random_inputs(rows, heads, n, m, d, device, dtype)
    table = candidates(q, k, v, tune)
    milliseconds = interleaved(table, device, runs)
    base = "sdpa" if "sdpa" in milliseconds else next(iter(milliseconds))
    operations = 4 * rows * heads * n * m * d
    found = {}
    print(f"\n{name}: {rows} x {heads} heads, {n} queries, {m} keys of {d}, "
          f"{str(dtype).removeprefix('torch.')} on {device}")
    for label, times in milliseconds.items():
        middle = median(times)
        entry = {
            "ms": middle, "fastest_ms": min(times), "tflops": operations / middle / 1e9,
            "x_sdpa": ratio(times, milliseconds[base]),
        }
        if label.startswith("kernel") and "kernel, no entropy" in milliseconds:
            entry["x_no_entropy"] = ratio(times, milliseconds["kernel, no entropy"])
        found[label] = entry
        extra = f"   {entry['x_no_entropy']:.3f} x no entropy" if "x_no_entropy" in entry else ""
        print(f"  {label:36} {middle:9.3f} ms {entry['tflops']:8.2f} TFLOP/s "
              f"{entry['x_sdpa']:6.2f} x {base}{extra}", flush=True)
    return {"rows": rows, "heads": heads, "queries": n, "keys": m, "head_size": d,
            "found": found}


def ratio(times: list[float], base: list[float]) -> float:
    return median(a / b for a, b in zip(times, base, strict=True))


def random_inputs(
    rows: int, heads: int, n: int, m: int, d: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    q = F.normalize(torch.randn(rows, heads, n, d, device=device), dim=-1)
    k = F.normalize(torch.randn(rows, heads, m, d, device=device), dim=-1)
    return q.to(dtype), k.to(dtype), torch.randn(rows, heads, m, d, device=device).to(dtype)


def candidates(q: Tensor, k: Tensor, v: Tensor, tune: bool) -> Candidates:
    """What can run here, by name."""
    found: Candidates = {}

    def sdpa(backend: str) -> Callable[[], object]:
        def call() -> Tensor:
            with plain.held_to(backend):
                return plain.attention(q, k, v, SCALE)

        return call

    found["sdpa"] = sdpa("auto")
    if q.is_cuda:
        for backend in ("flash", "cudnn", "efficient"):
            if plain.why_unavailable(backend, q.device) is None and works(sdpa(backend)):
                found[f"sdpa, {backend}"] = sdpa(backend)
    call = Call(q.device, q.dtype, q.shape[-1])
    explained = OP.explain(call)
    out = torch.empty_like(q)
    entropy = torch.empty(q.shape[:3], device=q.device)
    if explained["triton"] == "chosen":
        found.update(kernel_candidates(q, k, v, out, entropy, tune))
    found["portable"] = lambda: attention_with_entropy(
        q, k, v, SCALE, backend="torch", out=out, entropy_out=entropy)
    found["portable, entropy alone"] = lambda: attention_entropy(
        q, k, SCALE, backend="torch", entropy_out=entropy)
    if q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2] * 4 * 3 <= MOST_NAIVE:
        found["naive"] = lambda: naive(q, k, v)
    return found


def kernel_candidates(q: Tensor, k: Tensor, v: Tensor, out: Tensor, entropy: Tensor, tune: bool
                      ) -> Candidates:
    from toprovar.ops.attention_entropy.tiles import Tile
    from toprovar.ops.attention_entropy.triton import attend

    mean = torch.empty(q.shape[0], q.shape[2], device=q.device)
    found: Candidates = {
        "kernel, no entropy": lambda: attend(q, k, v, SCALE, out, None, None, False),
        "kernel": lambda: attend(q, k, v, SCALE, out, entropy, None, False),
        "kernel, mean over heads": lambda: attend(q, k, v, SCALE, out, mean, None, True),
        "kernel, entropy alone": lambda: attend(q, k, None, SCALE, None, entropy, None, False),
    }
    if tune:
        for tile in (Tile(128, 128, 8, 2), Tile(128, 128, 8, 3), Tile(128, 64, 8, 2),
                     Tile(128, 64, 8, 3), Tile(128, 64, 8, 4), Tile(64, 64, 4, 2),
                     Tile(64, 64, 4, 3), Tile(64, 128, 4, 2), Tile(128, 32, 8, 3)):
            def call(tile: Tile = tile) -> None:
                attend(q, k, v, SCALE, out, entropy, None, False, tile)

            if works(call):
                found["kernel, tile " + "-".join(map(str, tile))] = call
    return found


def works(call: Callable[[], object]) -> bool:
    """Whether a candidate runs here (a backend may refuse, a tile may not fit)."""
    try:
        call()
    except Exception as error:
        print(f"  left out: {type(error).__name__}: {str(error).splitlines()[0][:120]}")
        return False
    return True


def naive(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The N x M matrix and all."""
    p = (SCALE * (q @ k.mT)).float().softmax(-1)
    return p.to(v.dtype) @ v, torch.special.entr(p).sum(-1)


def interleaved(table: Candidates, device: torch.device, runs: int) -> dict[str, list[float]]:
    """Milliseconds of each candidate, round by round: all of them once in every round."""
    for call in table.values():
        call()
        call()
    milliseconds: dict[str, list[float]] = {label: [] for label in table}
    if device.type != "cuda":
        for _ in range(runs):
            for label, call in table.items():
                started = time.perf_counter()
                call()
                milliseconds[label].append(1e3 * (time.perf_counter() - started))
        return milliseconds
    for _ in range(runs):
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(len(table) + 1)]
        marks[0].record()
        for call, mark in zip(table.values(), marks[1:], strict=True):
            call()
            mark.record()
        torch.cuda.synchronize(device)
        for label, start, end in zip(table, marks, marks[1:], strict=False):
            milliseconds[label].append(start.elapsed_time(end))
    return milliseconds


if __name__ == "__main__":
    raise SystemExit(main())

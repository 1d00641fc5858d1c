"""Attention to a window of the keys against attention to all of them, on whatever device is here.

    python -m benchmarks.sparse_attention [--device cuda] [--dtype bf16] [--sides 64,48]
        [--radii 4,8,12] [--sinks 5,6,7] [--runs N] [--check] [--tune] [--entropy] [--json FILE]

The last scales of Infinity 2B at one megapixel: two rows, 16 heads of 128, all keys up to the
scale. Every candidate of a side runs in turn within one round; a figure is the median of the
rounds, a ratio the median of the rounds' ratios to ops.attention on all keys. Beside it stands the
share of the products that is left, and the share with blocks counted as full, which is the least
that the kernel can reach.

--check compares with the definition in float64 first and exits with 1 where they differ. --tune
times other tiles than the table's; --entropy the means over heads too.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks.attention_entropy import SCALE, Candidates, interleaved, random_inputs, ratio, works
from benchmarks.attention_entropy_check import ENTROPY_TOLERANCE, OUT_TOLERANCE
from benchmarks.machine import describe
from toprovar.devices import choose_device, choose_dtype
from toprovar.files import replace_file
from toprovar.ops import attention as plain
from toprovar.ops.registry import Call
from toprovar.ops.sparse_attention import (
    SPARSE_ATTENTION,
    Grids,
    Window,
    WindowBlocks,
    padded_share,
    seen_share,
    window_blocks,
    windowed_attention,
)
from toprovar.schedules import get_schedule

ROWS, HEADS, HEAD = 2, 16, 128
SIDES = {"cuda": "64,48", "cpu": "24"}
DENSE = "dense"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--sides", help="tokens a side of the scales; default 64,48 on a GPU")
    parser.add_argument("--radii", default="4,8,12")
    parser.add_argument("--sinks", default="5,6,7")
    parser.add_argument("--runs", type=int, help="rounds; default 50 on a GPU, 3 elsewhere")
    parser.add_argument("--check", action="store_true", help="compare with float64 first")
    parser.add_argument("--tune", action="store_true", help="time other tiles too")
    parser.add_argument("--entropy", action="store_true", help="time means of the entropy too")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    device = choose_device(given.device)
    dtype = choose_dtype(given.dtype, device)
    runs = given.runs or (50 if device.type == "cuda" else 3)
    windows = [Window(sinks, radius) for sinks in _numbers(given.sinks)
               for radius in _numbers(given.radii)]
    result: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.sparse_attention", *sys.argv[1:]]),
        "machine": describe(device), "dtype": str(dtype).removeprefix("torch."),
        "backends": SPARSE_ATTENTION.explain(Call(device, dtype, HEAD)), "sides": {},
    }
    failed = False
    with torch.inference_mode():
        for side in _numbers(given.sides or SIDES.get(device.type, "24")):
            grids = grids_up_to(side)
            found: dict[str, Any] = {"grids": grids}
            result["sides"][str(side)] = found
            if given.check:
                found["check"] = [check(grids, window, device, dtype) for window in windows]
                failed |= any(not row["passed"] for row in found["check"])
            found.update(measure(grids, windows, device, dtype, runs, given.tune, given.entropy))
            if given.json:  # kept so far, should the time run out
                replace_file(given.json, (json.dumps(result, indent=1) + "\n").encode())
    return 1 if failed else 0


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def grids_up_to(side: int) -> Grids:
    """The square schedule of one megapixel up to the scale of ``side`` x ``side`` tokens."""
    grids = get_schedule("1.0", "1M").grids
    if (side, side) not in grids:
        raise SystemExit(f"no scale has {side} tokens a side; expected one of "
                         f"{', '.join(str(h) for h, _ in grids)}")
    return grids[: grids.index((side, side)) + 1]


def measure(
    grids: Grids, windows: list[Window], device: torch.device, dtype: torch.dtype, runs: int,
    tune: bool, entropy: bool,
) -> dict[str, Any]:
    """Milliseconds and ratios of every window at one scale; printed too."""
    n, m = grids[-1][0] * grids[-1][1], sum(h * w for h, w in grids)
    q, k, v = random_inputs(ROWS, HEADS, n, m, HEAD, device, dtype)
    table: Candidates = {DENSE: lambda: plain.attention(q, k, v, SCALE)}
    shares = {}
    for window in windows:
        blocks = window_blocks(grids, window, device)
        name = f"sinks {window.sinks}, radius {window.radius}"
        for label, call in candidates(q, k, v, blocks, tune, entropy).items():
            table[name + label] = call
            shares[name + label] = window
    milliseconds = interleaved(table, device, runs)
    found = {}
    print(f"\n{grids[-1][0]} x {grids[-1][1]}: {n} queries, {m} keys, {ROWS} x {HEADS} heads of "
          f"{HEAD}, {str(dtype).removeprefix('torch.')} on {device}")
    for label, times in milliseconds.items():
        entry = {"ms": median(times), "fastest_ms": min(times),
                 "x_dense": ratio(times, milliseconds[DENSE])}
        if label in shares:
            entry |= {"seen_share": seen_share(grids, shares[label]),
                      "padded_share": padded_share(grids, shares[label])}
        found[label] = entry
        print(f"  {label:44} {entry['ms']:9.3f} ms {entry['x_dense']:6.3f} x dense"
              + (f", {entry['seen_share']:.3f} of the keys, {entry['padded_share']:.3f} in blocks"
                 if label in shares else ""), flush=True)
    return {"queries": n, "keys": m, "found": found}


def candidates(q: Tensor, k: Tensor, v: Tensor, blocks: WindowBlocks, tune: bool, entropy: bool
               ) -> Candidates:
    """What can run here, by name."""
    out = torch.empty_like(q)
    found: Candidates = {"": lambda: windowed_attention(q, k, v, SCALE, blocks, out=out)}
    if entropy:
        found[", mean entropy"] = lambda: windowed_attention(
            q, k, v, SCALE, blocks, entropy=True, out=out)
    call = Call(q.device, q.dtype, q.shape[-1])
    if tune and SPARSE_ATTENTION.explain(call)["triton"] == "chosen":
        from toprovar.ops.attention_entropy.tiles import Tile
        from toprovar.ops.sparse_attention.triton import attend

        for tile in (Tile(64, 64, 4, 2), Tile(64, 64, 4, 3), Tile(64, 64, 4, 5),
                     Tile(64, 64, 8, 3), Tile(64, 32, 4, 2), Tile(64, 32, 4, 3),
                     Tile(64, 32, 4, 5), Tile(32, 64, 4, 2)):
            def attempt(tile: Tile = tile) -> None:
                attend(q, k, v, SCALE, blocks, out, None, True, tile)

            if works(attempt):
                found[", tile " + "-".join(map(str, tile[:4]))] = attempt
    return found


def check(grids: Grids, window: Window, device: torch.device, dtype: torch.dtype
          ) -> dict[str, Any]:
    """Largest errors against float64; printed too."""
    blocks = window_blocks(grids, window, device)
    q, k, v = random_inputs(ROWS, HEADS, blocks.queries, blocks.keys, HEAD, device, dtype)
    v.clamp_(-1, 1)
    out, entropy = windowed_attention(q, k, v, SCALE, blocks, entropy=True)
    alone, _ = windowed_attention(q, k, v, SCALE, blocks)
    expected, exact = windowed_attention(q, k, v, SCALE, blocks, backend="reference", entropy=True)
    assert entropy is not None and exact is not None
    errors = {"out": max((x.float() - expected.float()).abs().max().item() for x in (out, alone)),
              "entropy": (entropy - exact).abs().max().item()}
    passed = errors["out"] <= OUT_TOLERANCE[dtype] and errors["entropy"] <= 2 * ENTROPY_TOLERANCE
    print(f"{'ok  ' if passed else 'FAIL'} {grids[-1]}, {window}: out {errors['out']:.1e}, "
          f"entropy {errors['entropy']:.1e}", flush=True)
    return {"sinks": window.sinks, "radius": window.radius, **errors, "passed": passed}


if __name__ == "__main__":
    raise SystemExit(main())

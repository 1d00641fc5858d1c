"""What the GPU did during one picture: kernels, by name and kind, and how long it was busy."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.timing import Contender, once

GROUPS = {
    # The first that matches; names of CUDA kernels, of our Triton kernels and, on a CPU, of ops.
    "attention": r"flash|fmha|sdpa|attention|attend|entropy|softmax_warp",
    "convolution": r"conv|fprop|dgrad|implicit_gemm|winograd|nchw|nhwc",
    "gemm": r"gemm|nvjet|cutlass|cublas|gemv|splitk|xmma|wgmma|addmm|aten::mm|aten::bmm",
    "norm": r"norm|residual_rows|moments|layer_norm|adaln|gated",
    "rotate": r"qkv_rows|rotate|rope",
    "select": r"select_mask|number_tokens|sort|topk|radix|scatter|gather|index|resize|merge_rows",
    "draw": r"draw_bits|exponential|multinomial|philox|distribution",
    "copy": r"memcpy|memset|copy|cat|fill|_to_",
}
TOP = 15


@dataclass(frozen=True)
class Interval:
    """One kernel: seconds from the trace's start."""

    name: str
    start: float
    seconds: float


def record(contender: Contender, device: torch.device) -> dict[str, Any]:
    """One picture under the profiler.

    Returns:
        busy_seconds: the union of all kernels' intervals; kernel_seconds: their sum; launches;
        host_launches: see there;
        groups: seconds by kind; top: the ``TOP`` kernels by time. On a CPU operators stand in for
        kernels, each without those that it calls, so that the same code runs there.
    """
    on_gpu = device.type == "cuda"
    _wake(on_gpu)
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as found:
        once(contender, device)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        found.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8", errors="replace"))["traceEvents"]
    rows = intervals(events, on_gpu)
    return summary(rows if on_gpu else alone(rows)) | {
        "busy_seconds": union(rows), "host_launches": host_launches(events)}


@lru_cache(maxsize=1)
def _wake(on_gpu: bool) -> None:
    """The first profile of a process may miss what runs while the profiler is being set up."""
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]):
        torch.zeros(1, device="cuda" if on_gpu else "cpu").add_(1).item()


def host_launches(events: Sequence[dict[str, Any]]) -> int:
    """How often the host launched something: a recorded graph counts once. 0 on a CPU."""
    return sum(1 for e in events if e.get("cat") in ("cuda_runtime", "cuda_driver")
               and "launch" in str(e.get("name", "")).lower())


def intervals(events: Sequence[dict[str, Any]], on_gpu: bool) -> list[Interval]:
    """The device's work in a Chrome trace, by start."""
    kinds = ("kernel", "gpu_memcpy", "gpu_memset") if on_gpu else ("cpu_op",)
    # Longest first among those that begin together: operators come before what they call.
    return sorted(
        (Interval(e["name"], e["ts"] / 1e6, e["dur"] / 1e6) for e in events
         if e.get("cat") in kinds and "dur" in e),
        key=lambda row: (row.start, -row.seconds),
    )


def alone(rows: Sequence[Interval]) -> list[Interval]:
    """Nested intervals, each without the time of those inside it."""
    open_, seconds = [], [row.seconds for row in rows]
    for i, row in enumerate(rows):
        while open_ and row.start >= rows[open_[-1]].start + rows[open_[-1]].seconds:
            open_.pop()
        if open_:
            seconds[open_[-1]] -= row.seconds
        open_.append(i)
    return [replace(row, seconds=own) for row, own in zip(rows, seconds, strict=True)]


def summary(rows: Sequence[Interval]) -> dict[str, Any]:
    """All of ``record`` but the union."""
    by_name: dict[str, list[float]] = {}
    groups = dict.fromkeys([*GROUPS, "other"], 0.0)
    for row in rows:
        by_name.setdefault(row.name, []).append(row.seconds)
        groups[group_of(row.name)] += row.seconds
    top = sorted(by_name.items(), key=lambda item: -sum(item[1]))[:TOP]
    return {
        "kernel_seconds": sum(row.seconds for row in rows), "launches": len(rows),
        "groups": groups,
        "top": [{"name": name[:120], "group": group_of(name), "calls": len(times),
                 "seconds": sum(times)} for name, times in top],
    }


def group_of(name: str) -> str:
    """Kind of a kernel."""
    lower = name.lower()
    return next((kind for kind, words in GROUPS.items() if re.search(words, lower)), "other")


def union(rows: Sequence[Interval]) -> float:
    """Seconds covered by at least one of the intervals, which are sorted by start."""
    covered, until = 0.0, float("-inf")
    for row in rows:
        end = row.start + row.seconds
        covered += max(0.0, end - max(row.start, until))
        until = max(until, end)
    return covered


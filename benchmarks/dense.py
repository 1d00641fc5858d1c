"""Our dense engine against a plain transcription of the official loop, side by side in one run.

    python -m benchmarks.dense [--variant 125m] [--pn 0.25M] [--dtypes fp32,bf16] [--json FILE]

Random weights and random text; no text encoder and no VAE. Each engine is timed in turn (A B A B
...), ratios are those of neighbouring runs, the median of them is quoted. Peak memory is measured
in a process of its own for each engine. On the larger scales the rate of the whole scale is set
against that of one large matrix product of the same run: attention, norms and everything else
count as overhead.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.machine import describe, matmul_rate, synchronise
from benchmarks.reference_loop import reference_run
from toprovar.devices import DTYPE_ALIASES, DTYPES, choose_device
from toprovar.files import replace_file
from toprovar.models.config import TransformerConfig
from toprovar.models.text import PackedText
from toprovar.models.transformer import InfinityTransformer
from toprovar.models.variants import get_variant
from toprovar.sampling.params import EngineOptions, SamplingParams
from toprovar.sampling.run import SamplingRun
from toprovar.schedules import get_schedule

TEXT_TOKENS = 24
LARGE_SCALE = 400
"""Scales of this many tokens and more are held against the matrix product."""


def build(shape: TransformerConfig, dtype: torch.dtype, device: torch.device
          ) -> InfinityTransformer:
    """Random weights: blocks in ``dtype``, the rest float32."""
    torch.manual_seed(0)
    model = InfinityTransformer.from_shape(shape)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.02) if parameter.ndim > 1 else parameter.zero_()
    model.blocks.to(dtype)
    return model.to(device).eval()  # type: ignore[call-overload]  # ModelMixin types .to narrowly


class Bench:
    """One model, both engines."""

    def __init__(self, variant: str, pn: str, dtype: str, device: torch.device) -> None:
        self.dtype = DTYPES[DTYPE_ALIASES.get(dtype, dtype)]
        self.device = device
        self.model = build(get_variant(variant).config, self.dtype, device)
        generator = torch.Generator().manual_seed(1)
        features = torch.randn(TEXT_TOKENS, self.model.shape.text_channels, generator=generator)
        self.text = PackedText(features.to(device), (TEXT_TOKENS,))
        self.params = SamplingParams(get_schedule("1.0", pn), 3.0, 0.5)

    def ours(self, options: EngineOptions | None = None) -> SamplingRun:
        run = SamplingRun(self.model, self.text, self.params, options=options,
                          generators=torch.Generator().manual_seed(2))
        for _ in run:
            synchronise(self.device)
        return run

    def reference(self) -> torch.Tensor:
        return reference_run(self.model, self.text, self.params, torch.Generator().manual_seed(2)
                             )[0]

    def operations(self, scale: int) -> int:
        """Multiply-adds x 2 of the blocks' matrix products and attention at a scale."""
        shape, tokens = self.model.shape, self.params.schedule.tokens
        c, n = shape.width, tokens[scale]
        keys = sum(tokens[: scale + 1])
        per_token = 2 * (6 * c * c + 2 * c * shape.mlp_hidden) + 4 * c * (keys + TEXT_TOKENS)
        return 2 * shape.depth * n * per_token  # two rows


def compare(bench: Bench, runs: int) -> dict[str, Any]:
    """Times, ratio, and the share of the matrix product's rate."""
    ours = bench.ours()
    codes = bench.reference()
    difference = (ours.summed_codes - codes).abs().max().item()
    ours_seconds, reference_seconds, scales = [], [], []
    for _ in range(runs):
        for call, seconds in ((bench.ours, ours_seconds), (bench.reference, reference_seconds)):
            synchronise(bench.device)
            started = time.perf_counter()
            result = call()
            synchronise(bench.device)
            seconds.append(time.perf_counter() - started)
            if isinstance(result, SamplingRun):
                scales.append([s.seconds for s in result.scale_reports])
    rate = matmul_rate(bench.dtype, bench.device)
    typical = [median(column) for column in zip(*scales, strict=True)]
    large = [i for i, n in enumerate(bench.params.schedule.tokens) if n >= LARGE_SCALE]
    rates = {i: bench.operations(i) / typical[i] for i in large}
    overall = sum(bench.operations(i) for i in large) / sum(typical[i] for i in large)
    return {
        "seconds": {"ours": median(ours_seconds), "reference": median(reference_seconds)},
        "ratio": median(a / b for a, b in zip(ours_seconds, reference_seconds, strict=True)),
        "ratios": [a / b for a, b in zip(ours_seconds, reference_seconds, strict=True)],
        "codes_differ_by": difference,
        "matmul_gflops": rate / 1e9,
        "scale_seconds": typical,
        "share_of_matmul": {
            **{f"{bench.params.schedule.tokens[i]} tokens": r / rate for i, r in rates.items()},
            f"all scales of {LARGE_SCALE}+ tokens": overall / rate,
        },
    }


def peak_memory(engine: str, arguments: argparse.Namespace, dtype: str) -> dict[str, int]:
    """Peak bytes of one engine in a process of its own: in all, and above the loaded model."""
    command = [sys.executable, "-m", "benchmarks.dense", "--variant", arguments.variant, "--pn",
               arguments.pn, "--dtypes", dtype, "--device", arguments.device, "--memory-of", engine]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(out.splitlines()[-1])


def measure_memory(bench: Bench, engine: str) -> dict[str, int]:
    """In this process: weights' bytes, and the peak on top of them during one run."""
    weights = sum(p.numel() * p.element_size() for p in bench.model.parameters())
    call = bench.ours if engine == "ours" else bench.reference
    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        run = torch.cuda.max_memory_allocated() - before
    else:
        run = _peak_resident(call)
    return {"weights": weights, "run": run, "total": weights + run}


def _peak_resident(call: Any) -> int:
    """Highest resident memory during a call above that before it, sampled every 2 ms."""
    import psutil

    process = psutil.Process()
    before, peak, done = process.memory_info().rss, 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    call()
    done.set()
    watcher.join()
    return max(peak - before, 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--variant", default="125m")
    parser.add_argument("--pn", default="0.25M")
    parser.add_argument("--dtypes", default="fp32,bf16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--memory-of", choices=("ours", "reference"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    device = choose_device(arguments.device)
    if arguments.memory_of:
        bench = Bench(arguments.variant, arguments.pn, arguments.dtypes, device)
        print(json.dumps(measure_memory(bench, arguments.memory_of)))
        return 0
    result: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.dense", *sys.argv[1:]]),
        "machine": describe(device), "variant": arguments.variant, "pn": arguments.pn,
    }
    for dtype in arguments.dtypes.split(","):
        found = compare(Bench(arguments.variant, arguments.pn, dtype, device), arguments.runs)
        memory = {e: peak_memory(e, arguments, dtype) for e in ("ours", "reference")}
        found["memory"] = memory
        found["memory_ratio"] = {
            key: memory["ours"][key] / memory["reference"][key] for key in ("run", "total")
        }
        result[dtype] = found
        print(f"{dtype}: time {found['ratio']:.2f} x the reference "
              f"({found['seconds']['ours']:.2f} s to {found['seconds']['reference']:.2f} s), "
              f"memory of the run {found['memory_ratio']['run']:.2f} x, with weights "
              f"{found['memory_ratio']['total']:.2f} x")
        for name, share in found["share_of_matmul"].items():
            print(f"  {name}: {share:.0%} of a large matrix product's rate")
    if arguments.json:
        replace_file(arguments.json, (json.dumps(result, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

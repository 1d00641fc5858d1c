"""The command: see ``--help``, and benchmarks/README.md for what the sections measure."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu import models
from benchmarks.gpu.correctness import run_correctness
from benchmarks.gpu.engine import engines
from benchmarks.gpu.first import run_first
from benchmarks.gpu.memory import run_memory
from benchmarks.gpu.overhead import run_overhead
from benchmarks.gpu.report import write_report
from benchmarks.gpu.results import Results
from benchmarks.gpu.roofline import Ceilings
from benchmarks.gpu.sections import (
    Bench,
    free,
    run_batches,
    run_dense,
    run_large,
    run_strategies,
)
from benchmarks.gpu.user import run_user
from benchmarks.machine import describe
from toprovar.devices import choose_device, choose_dtype
from toprovar.sampling.workspace import release

SECTIONS = ("dense", "strategies", "batches", "overhead", "correctness", "memory", "8b",
            "8b-memory", "user", "first")
DESCRIPTION = """The official loop, our engine and every strategy, side by side, with random weights
of the released geometries: wall and GPU-busy time, memory, share of roofline, kernels, correctness.

  python -m benchmarks.gpu --out DIR            measure; DIR/gpu.json grows step by step
  python -m benchmarks.gpu report DIR/gpu.json  draw tables and figures from it
"""


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["report"]:
        return report(argv[1:])
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--out", type=Path, default=Path("out"), metavar="DIR", help="for gpu.json (default: out)")
    add("--name", default="gpu.json", help="the file's name in it")
    add("--model", default="2b", help="a released variant, or tiny (default: 2b)")
    add("--pn", help="pixel budget (default: the model's)")
    add("--device", default="auto")
    add("--dtype", default="bfloat16")
    add("--rounds", type=int, default=5, help="timed runs of each contender (default: 5)")
    add("--draws", choices=("device", "cpu"), default="device",
        help="where our engine draws random numbers (default: on the device, as the official code)")
    add("--sections", default=",".join(SECTIONS), help=f"some of {', '.join(SECTIONS)}")
    add("--large", default="8b", help="the model of section 8b (default: 8b)")
    add("--user-models", default="2b,8b,125m",
        help="models of section user (default: 2b,8b,125m)")
    add("--user-suffix", default="", metavar="TEXT",
        help="after the names of its sections, to tell runs under other circumstances apart")
    add("--without-triton", action="store_true",
        help="as where Triton cannot be had, which is usual on Windows")
    add("--batches", default="1,2,4,8", help="batch sizes (default: 1,2,4,8)")
    add("--together", type=int, default=5,
        help="plans timed in turn with one dense run (default: 5)")
    add("--budget-seconds", type=float, help="begin nothing new after this time")
    add("--fixtures", type=Path, metavar="DIR", help="recorded results of the official code")
    given = parser.parse_args(argv)
    if given.without_triton:
        sys.modules["triton"] = None  # type: ignore[assignment]  # it cannot be imported then
    wanted = given.sections.split(",")
    for name in wanted:
        if name not in SECTIONS:
            parser.error(f"unknown section {name!r}; expected some of {', '.join(SECTIONS)}")
    device = choose_device(given.device)
    dtype = choose_dtype(given.dtype, device)
    given.out.mkdir(parents=True, exist_ok=True)
    results = Results(given.out / given.name, {
        "command": " ".join(["python -m benchmarks.gpu", *argv]),
        "date": time.strftime("%Y-%m-%d"), "machine": machine(device),
        "model": given.model, "dtype": str(dtype).removeprefix("torch."),
        "engines": list(engines(device)), "draws": given.draws, "rounds": given.rounds,
    }, given.budget_seconds)
    measure(given, wanted, device, dtype, results)
    print(f"{results.path}: {results.data['seconds']} s")
    return 0


def measure(given: argparse.Namespace, wanted: Sequence[str], device: torch.device,
            dtype: torch.dtype, results: Results) -> None:
    """Every section that was asked for and that there is time for."""
    ceilings = Ceilings.measure(device, dtype)
    results.data["ceilings"] = {"flops_per_second": ceilings.flops,
                                "bytes_per_second": ceilings.bytes}
    bench = None
    for name in wanted:
        if not results.may_begin(name):
            continue
        if name == "user":
            bench = None
            measure_users(given, device, dtype, results)
            continue
        if name == "first":
            bench = None
            free(device)
            with results.section(name) as found:
                run_first(results, found, given.model, given.dtype, given.pn)
            continue
        model = given.large if name.startswith("8b") else given.model
        if bench is None or bench.subject.name != model:
            encoder = None
            if bench is not None:
                encoder = bench.subject.pipeline.text_encoder
                release(bench.subject.pipeline.transformer)
            bench = None
            free(device)
            began = time.perf_counter()
            bench = Bench(models.build(model, device, dtype, given.pn, encoder), ceilings, results,
                          given.rounds, given.draws, given.together)
            print(f"{model}: {bench.subject.weights / 1e9:.2f} GB of weights made in "
                  f"{time.perf_counter() - began:.1f} s", flush=True)
        with results.section(name) as found:
            found |= {"model": model, "pn": bench.subject.schedule.pn,
                      "weights_bytes": bench.subject.weights}
            run_section(name, bench, found, given)
        if name.endswith("memory"):  # its weights are not what they were
            release(bench.subject.pipeline.transformer)
            bench = None
        free(device)


def measure_users(given: argparse.Namespace, device: torch.device, dtype: torch.dtype,
                  results: Results) -> None:
    """Section user, model after model: a section of its own each, ``user 2b`` ..."""
    encoder, suffix = None, given.user_suffix
    if not suffix and given.without_triton:
        suffix = ", without Triton"
    for name in given.user_models.split(","):
        if not results.may_begin(f"user {name}"):
            continue
        free(device)
        subject = models.build(name, device, dtype, given.pn, encoder)
        encoder = subject.pipeline.text_encoder
        with results.section(f"user {name}{suffix}") as found:
            run_user(results, found, subject)
        release(subject.pipeline.transformer)
        del subject


def run_section(name: str, bench: Bench, found: dict[str, Any], given: argparse.Namespace) -> None:
    match name:
        case "dense":
            run_dense(bench, found)
        case "strategies":
            run_strategies(bench, found)
        case "batches":
            run_batches(bench, found, [int(size) for size in given.batches.split(",")])
        case "overhead":
            run_overhead(bench, found)
        case "correctness":
            run_correctness(bench, found, given.fixtures)
        case "memory":
            run_memory(bench, found)
        case "8b":
            run_large(bench, found)
        case "8b-memory":
            run_memory(bench, found, streamed=False)


def machine(device: torch.device) -> dict[str, Any]:
    """Machine and versions, those of the GPU's software among them."""
    found = describe(device)
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
                  "memory_bytes": properties.total_memory,
                  "multiprocessors": properties.multi_processor_count}
    for package in ("triton", "transformers", "diffusers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def report(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu report")
    parser.add_argument("result", type=Path, nargs="+",
                        help="gpu.json, or several of which later ones replace sections")
    parser.add_argument("--docs", type=Path, default=Path("docs/research/benchmarks"),
                        metavar="DIR")
    given = parser.parse_args(argv)
    for path in write_report(given.result, given.docs):
        print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

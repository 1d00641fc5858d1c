"""Compile every registered Triton kernel for the GPUs it may meet. Needs no GPU.

    python -m benchmarks.compile_kernels [--quick] [--op NAME] [--arch 89,90] [--json FILE]

Prints registers, bytes spilled and shared memory of each, and exits with 1 if one spills in a loop
or more than AROUND_LOOPS outside of loops, needs more shared memory than its GPU gives a block (99
KiB on sm_86, sm_89 and sm_120), or does not compile. --quick leaves out variants that differ little
from one that is compiled; it is what CI runs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from benchmarks.sass import stack_accesses_in_loops
from toprovar.files import replace_file
from toprovar.ops.registry import Kernel, Op, all_ops

ARCHITECTURES = (80, 89, 90, 100, 120)
SHARED_LIMIT = {80: 163, 86: 99, 87: 163, 89: 99, 90: 227, 100: 227, 103: 227, 120: 99}  # KiB
AROUND_LOOPS = 32
"""Bytes that a thread may put aside before its loop and fetch after it: once a program, it costs
nothing that could be measured."""


@dataclass(frozen=True)
class Task:
    """One kernel for one architecture; the worker looks the kernel up by its place."""

    op: str
    arch: int
    index: int
    label: str


@dataclass(frozen=True)
class Result:
    """What became of a task.

    Attributes:
        registers: of a thread; spilled: bytes of stores and loads a thread; in_loops: accesses to
            the stack inside loops; shared: bytes a block.
        problem: None, or why this fails.
    """

    op: str
    label: str
    arch: int
    registers: int = 0
    spilled: int = 0
    in_loops: int = 0
    shared: int = 0
    seconds: float = 0.0
    problem: str | None = None


def kernels_of(op: Op, arch: int) -> list[Kernel]:
    return list(op.kernels(arch)) if op.kernels is not None else []


def tasks(quick: bool, only: str | None, archs: tuple[int, ...]) -> list[Task]:
    return [
        Task(op.name, arch, i, kernel.label)
        for op in all_ops() if only in (None, op.name)
        for arch in archs for i, kernel in enumerate(kernels_of(op, arch))
        if kernel.quick or not quick
    ]


def compile_task(task: Task) -> Result:
    """Compile in this process; never raises."""
    started = time.perf_counter()
    op = next(op for op in all_ops() if op.name == task.op)
    try:
        registers, spilled, in_loops, shared = compile_kernel(
            kernels_of(op, task.arch)[task.index], task.arch)
    except Exception as error:  # reported with the kernel's name
        reason = f"does not compile: {type(error).__name__}: {error}"
        return Result(task.op, task.label, task.arch, problem=reason[:2000])
    limit = SHARED_LIMIT.get(task.arch, 99) * 1024
    problem = None
    if in_loops or spilled > AROUND_LOOPS:
        problem = f"spills {spilled} bytes, {in_loops} accesses in loops"
    if shared > limit:
        problem = f"needs {shared} bytes of shared memory, a block has {limit}"
    return Result(task.op, task.label, task.arch, registers, spilled, in_loops, shared,
                  round(time.perf_counter() - started, 2), problem)


def compile_kernel(kernel: Kernel, arch: int) -> tuple[int, int, int, int]:
    """Registers, bytes spilled, stack accesses in loops, bytes of shared memory."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = list(kernel.signature)
    if names != kernel.function.arg_names:
        raise ValueError(f"signature names {names}, the kernel has {kernel.function.arg_names}")
    aligned = {(names.index(n),): [["tt.divisibility", 16]] for n in kernel.aligned}
    source = ASTSource(kernel.function, dict(kernel.signature), dict(kernel.constants), aligned)
    compiled = triton.compile(source, target=GPUTarget("cuda", arch, 32),
                              options=dict(kernel.options))
    return *resources(compiled.asm["ptx"], compiled.asm["cubin"], arch), compiled.metadata.shared


def resources(ptx: str, cubin: bytes, arch: int) -> tuple[int, int, int]:
    """Registers, bytes spilled, stack accesses in loops.

    The cubin tells whether anything lies on the stack; only then the assembler is asked how much of
    it is spilled registers.
    """
    from triton import knobs

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(cubin)
        told = subprocess.run([knobs.nvidia.cuobjdump.path, "-res-usage", file], check=True,
                              capture_output=True, text=True).stdout
        usage = {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", told)}
        if usage["STACK"] + usage["LOCAL"] == 0:
            return usage["REG"], 0, 0
        sass = subprocess.run([knobs.nvidia.cuobjdump.path, "-sass", file], check=True,
                              capture_output=True, text=True).stdout
        in_loops = stack_accesses_in_loops(sass)
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        target = re.search(r"\.target (sm_\w+)", ptx)
        name = target.group(1) if target else f"sm_{arch}"
        for tool in (knobs.nvidia.ptxas_blackwell, knobs.nvidia.ptxas):  # the newer one first
            done = subprocess.run([tool.path, "-v", f"--gpu-name={name}", source, "-o",
                                   Path(folder) / "again.cubin"], capture_output=True, text=True)
            if done.returncode == 0:
                spilled = sum(map(int, re.findall(r"(\d+) bytes spill", done.stderr)))
                return usage["REG"], spilled, in_loops
        return usage["REG"], usage["STACK"], in_loops


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the short list, as in CI")
    parser.add_argument("--op", help="one operation only")
    parser.add_argument("--arch", default=",".join(map(str, ARCHITECTURES)))
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    os.environ.pop("TRITON_INTERPRET", None)  # kernels must be the compiler's
    try:
        import triton
    except ImportError:
        print("this needs triton (Linux): pip install triton", file=sys.stderr)
        return 2
    todo = tasks(given.quick, given.op, tuple(int(a) for a in given.arch.split(",")))
    started = time.perf_counter()
    results = []
    with ProcessPoolExecutor(given.workers, mp_context=get_context("spawn")) as pool:
        for future in as_completed(pool.submit(compile_task, t) for t in todo):
            results.append(future.result())
    order = {(t.op, t.arch, t.label): i for i, t in enumerate(todo)}
    results.sort(key=lambda r: order[r.op, r.arch, r.label])
    for r in results:
        print(f"{r.op:18} sm_{r.arch:<4} {r.label:44} {r.registers:4} registers "
              f"{r.spilled:5} spilled {r.shared / 1024:6.1f} KiB  {r.problem or ''}")
    failed = [r for r in results if r.problem]
    seconds = time.perf_counter() - started
    print(f"{len(results)} kernels, {len(failed)} with problems, triton {triton.__version__}, "
          f"{seconds:.0f} s")
    if given.json:
        table = {"command": " ".join(["python -m benchmarks.compile_kernels", *sys.argv[1:]]),
                 "triton": triton.__version__, "kernels": [asdict(r) for r in results]}
        replace_file(given.json, (json.dumps(table, indent=1) + "\n").encode())
    return 1 if failed or not results else 0


if __name__ == "__main__":
    raise SystemExit(main())

"""What decides whether a compiled kernel passes; the compilation itself is ``make kernels``."""

from __future__ import annotations

import pytest

from benchmarks import compile_kernels
from benchmarks.compile_kernels import ARCHITECTURES, Task, compile_task, kernels_of, tasks
from benchmarks.sass import stack_accesses_in_loops
from toprovar.ops.registry import all_ops

pytest.importorskip("triton", reason="triton is not installed")


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_variant_names_all_parameters(arch: int) -> None:
    for op in all_ops():
        labels = [kernel.label for kernel in kernels_of(op, arch)]
        assert len(set(labels)) == len(labels), op.name
        for kernel in kernels_of(op, arch):
            assert list(kernel.signature) == list(kernel.function.arg_names), kernel.label
            constant = {n for n, kind in kernel.signature.items() if kind == "constexpr"}
            assert constant == set(kernel.constants), kernel.label
            assert set(kernel.aligned) <= set(kernel.signature), kernel.label


def test_the_quick_list_is_part_of_the_whole() -> None:
    whole, quick = tasks(False, None, (89,)), tasks(True, None, (89,))
    assert 0 < len(quick) < len(whole) and set(quick) <= set(whole)
    heads = {t.label.split()[1] for t in quick if t.op == "attention_entropy"}
    assert {"D=64", "D=96", "D=128", "D=224"} <= heads


@pytest.mark.parametrize(("arch", "spilled", "in_loops", "shared", "problem"), [
    (89, 0, 0, 99 * 1024, None),
    (89, 0, 0, 99 * 1024 + 1, "shared memory"),
    (90, 0, 0, 160 * 1024, None),
    (90, 32, 0, 1024, None),
    (90, 8, 1, 1024, "spills 8 bytes, 1 accesses in loops"),
    (90, 40, 0, 1024, "spills 40 bytes"),
])
def test_what_fails(monkeypatch: pytest.MonkeyPatch, arch: int, spilled: int,
                    in_loops: int, shared: int, problem: str | None) -> None:
    monkeypatch.setattr(compile_kernels, "compile_kernel",
                        lambda *_: (200, spilled, in_loops, shared))
    result = compile_task(Task("attention_entropy", arch, 0, "any"))
    assert result.registers == 200
    assert result.problem is None if problem is None else problem in (result.problem or "")


SASS = """
        /*0000*/                   STL [R1+0x4], R10 ;     /* 0x0 */
        /*0010*/                   STL [R1], R11 ;         /* 0x0 */
        /*0020*/                   LDL R2, [R1+0x4] ;      /* 0x0 */
        /*0030*/                   FADD R2, R2, R3 ;       /* 0x0 */
        /*0040*/              @!P2 BRA 0x%s ;              /* 0xffff */
        /*0050*/                   LDL.LU R11, [R1] ;      /* 0x0 */
        /*0060*/                   BRA 0x60 ;              /* 0x0 */
"""


@pytest.mark.parametrize(("target", "accesses"), [("20", 1), ("30", 0), ("10", 2), ("50", 0)])
def test_what_is_in_a_loop(target: str, accesses: int) -> None:
    assert stack_accesses_in_loops(SASS % target) == accesses


def test_what_does_not_compile_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> tuple[int, int, int, int]:
        raise ValueError("no such instruction")

    monkeypatch.setattr(compile_kernels, "compile_kernel", refuse)
    result = compile_task(Task("attention_entropy", 80, 0, "any"))
    assert "does not compile: ValueError: no such instruction" in (result.problem or "")

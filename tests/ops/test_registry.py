from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

from toprovar.ops import triton_support
from toprovar.ops.registry import FLOATS, Backend, Call, Constraints, Op, all_ops, register

CPU = torch.device("cpu")


def never() -> Callable[..., Any]:
    raise AssertionError("a backend that does not serve must not be imported")


def make(*backends: Backend) -> Op:
    return Op("sum", "Adds up.", backends)


KERNEL = Backend("triton", never, Constraints(
    devices=("cuda",), dtypes=FLOATS, capability=(8, 0), sizes=(64, 128),
    lacks=frozenset({"gradients"})))
TORCH = Backend("torch", lambda: sum, Constraints(dtypes=FLOATS))
REFERENCE = Backend("reference", lambda: max)


@pytest.fixture()
def compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """As without TRITON_INTERPRET."""
    monkeypatch.setattr(triton_support, "interpreting", lambda: False)


@pytest.mark.usefixtures("compiled")
def test_the_first_that_can_serve() -> None:
    op = make(KERNEL, TORCH, REFERENCE)
    call = Call(CPU, torch.float32, 64)
    assert op.choose(call) is TORCH and TORCH.function is sum
    assert op.choose(call, "reference").function is max
    assert op.explain(call) == {
        "triton": "needs a cuda device, the tensors are on cpu",
        "torch": "chosen",
        "reference": "only when asked for by name",
    }
    assert op.explain(call, "reference")["torch"] == "available, reference was asked for"


@pytest.mark.usefixtures("compiled")
def test_a_backend_that_cannot_serve_says_why() -> None:
    op = make(KERNEL, TORCH)
    with pytest.raises(ValueError, match="backend triton needs a cuda device"):
        op.choose(Call(CPU, torch.float32, 64), "triton")
    with pytest.raises(ValueError, match="unknown backend 'fast'; expected one of auto, triton"):
        op.choose(Call(CPU, torch.float32, 64), "fast")
    with pytest.raises(ValueError, match=r"no backend can serve.*triton.*; torch serves bfloat16"):
        op.choose(Call(CPU, torch.int32, 64))


@pytest.mark.parametrize(("call", "reason"), [
    (Call(CPU, torch.float64, 64), "serves bfloat16, float16, float32, not float64"),
    (Call(CPU, torch.float32, 96), "serves a head size of 64, 128, not 96"),
    (Call(CPU, torch.float32, 64, ("gradients",)), "does not support gradients"),
])
def test_constraints_in_words(call: Call, reason: str) -> None:
    assert KERNEL.constraints.why_not(call, "head size", device_matters=False) == reason


def test_rules_for_sizes() -> None:
    limits = Constraints(max_size=4096, multiple_of=8)
    assert limits.why_not(Call(CPU, torch.float32, 4096)) is None
    assert "up to 4096, not 8192" in (limits.why_not(Call(CPU, torch.float32, 8192)) or "")
    assert "multiple of 8, not 12" in (limits.why_not(Call(CPU, torch.float32, 12)) or "")


def test_old_gpus_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    call = Call(torch.device("cuda", 0), torch.float16, 64)
    assert KERNEL.constraints.why_not(call) == (
        "needs compute capability 8.0, this GPU has 7.5")
    monkeypatch.setattr(torch.version, "hip", "6.2")
    assert KERNEL.constraints.why_not(call) == "is made for NVIDIA GPUs, this is an AMD one"


def test_the_interpreter_serves_by_name_only(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    monkeypatch.setattr(triton_support, "interpreting", lambda: True)
    op, call = make(KERNEL, TORCH), Call(CPU, torch.float32, 64)
    assert op.choose(call) is TORCH
    assert op.choose(call, "triton") is KERNEL
    assert "interpreter" in op.explain(call)["triton"]


@pytest.mark.usefixtures("compiled")
def test_missing_triton_is_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(triton_support.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    triton_support.why_no_triton.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            for op in (make(KERNEL, TORCH), make(KERNEL, TORCH)):
                assert op.choose(Call(torch.device("cuda", 0), torch.float16, 64)) is TORCH
        assert len(caplog.records) == 1 and "triton is not installed" in caplog.text
        with pytest.raises(ValueError, match="triton is not installed"):
            op.choose(Call(torch.device("cuda", 0), torch.float16, 64), "triton")
    finally:
        triton_support.why_no_triton.cache_clear()


def test_two_backends_of_one_name() -> None:
    with pytest.raises(ValueError, match="named twice"):
        register(make(TORCH, TORCH))


def test_all_operations_are_complete() -> None:
    ops = {op.name: op for op in all_ops()}
    assert "attention_entropy" in ops
    for op in ops.values():
        assert op.summary.endswith(".")
        names = [b.name for b in op.backends]
        assert {"torch", "reference"} & set(names), op.name
        assert ("triton" in names) == (op.kernels is not None), op.name


def test_choosing_imports_no_triton() -> None:
    """In a process of its own, since others may have imported it here."""
    code = ("import sys, torch; from toprovar.ops.registry import Call, all_ops\n"
            "for op in all_ops(): op.explain(Call(torch.device('cpu'), torch.float32, 64))\n"
            "sys.exit('triton' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Kernels compiled before the first scale: none that a run needs is missing."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
import torch

from tests.sampling.test_graphs import draw, model, plans  # noqa: F401 (a fixture)
from tests.tiny import random_text
from toprovar.models.transformer import InfinityTransformer
from toprovar.ops import registry
from toprovar.sampling import compile_ahead as ahead
from toprovar.sampling.fused_runner import FusedRunner

STATIC = ("dense", "identity", "cached", "exit", "unconditional row", "variance", "random",
          "fastvar", "fastervar", "mixtures", "skipvar")


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> set[tuple[Any, ...]]:
    """(operation, dtype, size, features) of every call of an operation that has kernels."""
    found: set[tuple[Any, ...]] = set()
    choose = registry.Op.choose

    def noting(self: registry.Op, call: registry.Call, backend: str = "auto") -> registry.Backend:
        if self.kernels is not None:
            found.add((self.name, call.dtype, call.size, call.features))
        return choose(self, call, backend)

    monkeypatch.setattr(registry.Op, "choose", noting)
    return found


@pytest.mark.parametrize("name", STATIC)
def test_every_operation_of_a_run_is_launched_before(
    model: InfinityTransformer, called: set[tuple[Any, ...]], name: str,  # noqa: F811
) -> None:
    plan = plans(model)[name]
    _, run = draw(model, random_text(5), plan, graphs=False)
    used = set(called)
    called.clear()
    assert isinstance(run.runner, FusedRunner)
    with torch.inference_mode():
        for launch in ahead.launches(run.runner, run.plan_state.plan, run.rows, torch.float32):
            launch()
    assert used and used <= called, used - called


@pytest.mark.gpu
@pytest.mark.parametrize("name", STATIC)
def test_the_run_compiles_nothing_more(
    model: InfinityTransformer, monkeypatch: pytest.MonkeyPatch, name: str,  # noqa: F811
) -> None:
    made: list[str] = []
    triton: Any = importlib.import_module("triton")

    def note(*, fn: Any, **_: Any) -> None:
        made.append(fn.name)

    monkeypatch.setattr(triton.knobs.runtime, "jit_post_compile_hook", note)
    counts: list[int] = []
    whole = ahead.compile_ahead

    def counting(*args: Any) -> None:
        whole(*args)
        counts.append(len(made))

    monkeypatch.setattr("toprovar.sampling.run.compile_ahead", counting)
    draw(model, random_text(5), plans(model)[name], graphs=True)
    assert counts and made[counts[0]:] == []

"""That the fast ways compute the same: device against host, graphs against eager, narrow against
float32, and the recorded results of the official code where they are at hand."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu import strategies
from benchmarks.gpu.engine import SEED, engines
from benchmarks.gpu.models import TINY, random_transformer
from benchmarks.gpu.sections import Bench, free
from toprovar.conformance.check import TIE_MARGIN
from toprovar.models.config import TransformerConfig
from toprovar.models.latents import bits_to_codes, resize_codes, tokens_to_grid, unfold_patches
from toprovar.models.text import PackedText
from toprovar.models.transformer import InfinityTransformer
from toprovar.models.variants import get_variant
from toprovar.ops.bit_sampling import greedy_bits
from toprovar.sampling.bits import ForcedBits
from toprovar.sampling.params import EngineOptions, SamplingParams
from toprovar.sampling.run import SamplingRun, ScaleState
from toprovar.sampling.workspace import release
from toprovar.schedules import ScaleSchedule, get_schedule
from toprovar.sparsity.plan import SparsityPlan, dense_plan

CPU = torch.device("cpu")
TEXT_TOKENS = 24


def run_correctness(bench: Bench, found: dict[str, Any], fixtures: Path | None) -> None:
    """Everything that fits; each part says what it compared."""
    names = ["tiny"] if bench.subject.name == "tiny" else ["tiny", "125m"]
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "float32": lambda: {name: same_bits(name, bench.device) for name in names},
        "conformance": lambda: conformance(fixtures, bench.device),
        "narrow": lambda: narrow(bench),
    }
    for what, part in parts.items():
        with bench.results.attempt(f"correctness, {what}"), exact():
            found[what] = part()
            print(f"  {what}: {found[what]}", flush=True)
        free(bench.device)


@contextmanager
def exact() -> Iterator[None]:
    """float32 products and convolutions in float32, not in TF32."""
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    try:
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.allow_tf32 = value


def same_bits(name: str, device: torch.device) -> dict[str, Any]:
    """float32: the host's bits against the device's under the same history, and each way the
    device's engine runs against the first, free, for the dense plan and the preset."""
    shape, pn, cfg, tau = _model(name)
    host = random_transformer(shape, CPU, torch.float32)
    own = copy.deepcopy(host).to(device)  # type: ignore[call-overload]  # ModelMixin types .to narrowly
    schedule = get_schedule("1.0", pn)
    text = _text(shape)
    params = SamplingParams(schedule, cfg, tau, mode="greedy")
    theirs = list(SamplingRun(host, text, params))
    forced = ForcedBits([state.bits for state in theirs])
    ours = list(SamplingRun(own, text.to(device), params, choose=forced,
                            options=engines(device)["eager"]))
    differ = ties = 0
    error = 0.0
    for a, b in zip(theirs, ours, strict=True):
        other = b.logits.to(CPU)
        error = max(error, (a.logits - other).abs().max().item())
        wrong = greedy_bits(other) != a.bits
        pairs = a.logits.unflatten(-1, (-1, 2))
        tied = (pairs[..., 1] - pairs[..., 0]).abs() < TIE_MARGIN
        differ += int((wrong & ~tied).sum())
        ties += int((wrong & tied).sum())
    found: dict[str, Any] = {
        "bits": sum(state.bits.numel() for state in theirs),
        "device_differs_from_host": differ, "of_near_ties": ties, "logits_differ_by": error,
    }
    found |= same_engines(own, text.to(device), SamplingParams(schedule, cfg, tau))
    release(own)
    return found


def same_engines(model: InfinityTransformer, text: PackedText, params: SamplingParams
                 ) -> dict[str, int]:
    """How many drawn bits differ between the first way the engine runs and each other one, for
    the dense plan and the preset."""
    found = {}
    for what, plan in _plans(model.shape, params.schedule).items():
        runs = {kind: _bits(model, text, params, plan, options)
                for kind, options in engines(model.null_text.device).items()}
        first = next(iter(runs.values()))
        for kind, bits in list(runs.items())[1:]:
            found[f"{what}: {kind} differs from eager"] = sum(
                int((a != b).sum()) for a, b in zip(first, bits, strict=True))
    return found


def narrow(bench: Bench) -> dict[str, Any]:
    """The subject's own precision against float32 of the same weights, under the bits that the
    float32 engine drew.

    Returns:
        equal_bits: share of greedy bits alike; logits_error: root mean square, over the logits'
        spread; latent_error: of the codes that the greedy bits sum to, relative.
    """
    subject, device = bench.subject, bench.device
    model = subject.pipeline.transformer
    wide = copy.deepcopy(model)
    wide.blocks.float()
    text = subject.pipeline.encode_prompt(subject.prompts())
    params = subject.params
    generator = torch.Generator(device).manual_seed(SEED)
    exact_states = list(SamplingRun(wide, text, params, generators=generator,
                                    options=engines(device)["eager"]))
    del wide
    free(device)
    forced = ForcedBits([state.bits for state in exact_states])
    found: dict[str, Any] = {"model": subject.name,
                             "dtype": str(model.compute_dtype).removeprefix("torch.")}
    found |= same_engines(model, text, params)
    # Eager: what a recorded graph hands out may be written over by its next launch.
    eager = engines(device)["eager"]
    options = {"float32 residual": eager,
               "narrow residual": dataclasses.replace(eager, residual_dtype=model.compute_dtype)}
    for name, own in options.items():
        states = list(SamplingRun(model, text, params, options=own, choose=forced))
        found[name] = _apart(exact_states, states, subject.shape, params.schedule)
    return found


def _apart(exact_states: list[ScaleState], states: list[ScaleState], shape: TransformerConfig,
           schedule: ScaleSchedule) -> dict[str, float]:
    alike = total = 0
    errors, spreads = [], []
    for a, b in zip(exact_states, states, strict=True):
        same = greedy_bits(a.logits) == greedy_bits(b.logits)
        alike, total = alike + int(same.sum()), total + same.numel()
        errors.append((a.logits - b.logits).flatten())
        spreads.append(a.logits.flatten())
    codes, own = (_latent(s, shape, schedule) for s in (exact_states, states))
    return {
        "equal_bits": alike / total,
        "logits_error": (torch.cat(errors).square().mean().sqrt()
                         / torch.cat(spreads).std()).item(),
        "latent_error": ((own - codes).norm() / codes.norm()).item(),
    }


def _latent(states: list[ScaleState], shape: TransformerConfig, schedule: ScaleSchedule) -> Tensor:
    """Sum of the codes of the likelier bits."""
    height, width = (side * shape.patch for side in schedule.grids[-1])
    codes = [bits_to_codes(unfold_patches(tokens_to_grid(greedy_bits(state.logits), state.grid),
                                          shape.patch), shape.latent_channels)
             for state in states]
    return torch.stack([resize_codes(own, (height, width)) for own in codes]).sum(0)


def conformance(fixtures: Path | None, device: torch.device) -> dict[str, Any]:
    """``toprovar conformance`` on this device, or why not."""
    if fixtures is None:
        return {"left_out": "no --fixtures folder given: the recorded results of the official code "
                            "do not come with the package"}
    from toprovar.conformance import check_folder

    report = check_folder(fixtures, device)
    return {"passed": report.passed, "summary": report.summary(),
            "misses": [f"{c.name}: {c.difference:.3g}, limit {c.limit:.3g}"
                       for c in report.misses]}


def _model(name: str) -> tuple[TransformerConfig, str, float, float]:
    if name == "tiny":
        return TINY, "0.06M", 3.0, 0.5
    variant = get_variant(name)
    return variant.config, variant.pn, variant.cfg, variant.tau


def _text(shape: TransformerConfig) -> PackedText:
    generator = torch.Generator().manual_seed(1)
    return PackedText(torch.randn(TEXT_TOKENS, shape.text_channels, generator=generator),
                      (TEXT_TOKENS,))


def _plans(shape: TransformerConfig, schedule: ScaleSchedule) -> dict[str, SparsityPlan]:
    return {"dense": dense_plan(shape, schedule),
            "preset": strategies.pruned(shape, schedule, 0.2, unconditional_off=2)}


def _bits(model: InfinityTransformer, text: PackedText, params: SamplingParams, plan: SparsityPlan,
          options: EngineOptions) -> list[Tensor]:
    generator = torch.Generator().manual_seed(SEED)
    run = SamplingRun(model, text, params, plan=plan, options=options, generators=generator)
    return [state.bits.clone() for state in run]

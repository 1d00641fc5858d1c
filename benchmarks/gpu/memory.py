"""What smaller cards can do: 8-bit numbers, weights in host memory, tiles; each with its price."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch

from benchmarks.gpu import strategies
from benchmarks.gpu.models import Subject
from benchmarks.gpu.sections import Bench, free
from benchmarks.gpu.timing import Clock, loop_seconds, once
from toprovar.models.fp8 import quantize_blocks
from toprovar.models.text import PackedText
from toprovar.ops.bit_sampling import greedy_bits
from toprovar.sampling.bits import ForcedBits
from toprovar.sampling.params import EngineOptions
from toprovar.sampling.run import SamplingRun
from toprovar.sampling.streaming import stream_blocks
from toprovar.sampling.workspace import release
from toprovar.sparsity.plan import SparsityPlan
from toprovar.sparsity.strategies.scalekv import scalekv_plan

E4M3 = torch.float8_e4m3fn
TILE = 32
"""Latent pixels of a decoder's tile."""


@dataclass
class Frugal:
    """The pipeline on text that was encoded before, its text encoder away from the device."""

    name: str
    subject: Subject
    text: PackedText
    plan: SparsityPlan | None
    options: EngineOptions
    tile: int | None
    notes: tuple[str, ...] = ()

    def picture(self, clock: Clock) -> None:
        own, params = self.subject, self.subject.params
        result = own.pipeline(
            prompt_features=self.text, schedule=params.schedule, guidance_scale=params.cfg,
            tau=params.tau, plan=self.plan, options=self.options, vae_tile=self.tile,
            generator=torch.Generator(own.device).manual_seed(2),
            on_scale=lambda state: clock.mark(f"scale {state.index}"),
        )
        clock.mark("decode")
        self.notes = result.report.notes


@dataclass
class Memory:
    """The section.

    Attributes:
        bits: that every setting is forced to; exact: logits of the first setting under them.
    """

    bench: Bench
    text: PackedText
    bits: list[torch.Tensor] = field(default_factory=list)
    exact: torch.Tensor | None = None

    def run(self, found: dict[str, Any], streamed: bool) -> None:
        """Every setting, the kindest to the picture first. The model is not what it was after."""
        model, graphs = self.bench.subject.pipeline.transformer, self.bench.device.type == "cuda"
        recorded = graphs or None
        found["rows"] = []
        self.measure(found, "as it is", EngineOptions(graphs=recorded))
        self.measure(found, "8-bit KV cache", EngineOptions(graphs=recorded, cache_dtype=E4M3))
        self.measure(found, "KV cache of a tenth of the keys (scalekv)",
                     EngineOptions(graphs=recorded), bounded=True)
        self.measure(found, "8-bit KV cache, eager, decoded in tiles",
                     EngineOptions(graphs=False, cache_dtype=E4M3), TILE)
        quantize_blocks(model)
        self.measure(found, "8-bit weights", EngineOptions(graphs=recorded))
        self.measure(found, "8-bit weights, narrow residual", EngineOptions(
            graphs=recorded, residual_dtype=model.compute_dtype))
        self.measure(found, "8-bit weights and KV cache, decoded in tiles",
                     EngineOptions(graphs=recorded, cache_dtype=E4M3), TILE)
        if streamed:
            stream_blocks(model, self.bench.device)
            self.measure(found, "8-bit weights streamed, 8-bit KV cache, decoded in tiles",
                         EngineOptions(graphs=recorded, cache_dtype=E4M3), TILE)

    def measure(self, found: dict[str, Any], name: str, options: EngineOptions,
                tile: int | None = None, bounded: bool = False) -> None:
        """One row.

        Args:
            bounded: whether layers hold few keys; a preset is not timed then.
        """
        bench = self.bench
        if not bench.results.may_begin(name):
            return
        with bench.results.attempt(name):
            release(bench.subject.pipeline.transformer)
            free(bench.device)
            plans = strategies.plans(bench.subject)
            shape, schedule = bench.subject.shape, bench.subject.params.schedule
            few = scalekv_plan(shape, schedule) if bounded else None
            row: dict[str, Any] = {"name": name, **self.quality(options, few)}
            for what, plan in (("dense", few), ("preset", few or plans[
                    strategies.PRESET_UNGUIDED])):
                row[what] = self.time(Frugal(name, bench.subject, self.text, plan, options, tile))
            found["rows"].append(row)
            print(f"  {name:62} dense {row['dense']['seconds'] * 1e3:7.1f} ms, preset "
                  f"{row['preset']['seconds'] * 1e3:7.1f} ms, peak "
                  f"{row['dense'].get('peak_bytes', 0) / 2**30:5.2f} GiB, equal bits "
                  f"{row['equal_bits']:.2%}", flush=True)
        bench.results.save()

    def time(self, contender: Frugal) -> dict[str, Any]:
        device = self.bench.device
        for _ in range(2):
            once(contender, device)
        free(device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        timed = [once(contender, device) for _ in range(max(3, self.bench.rounds - 2))]
        row: dict[str, Any] = {
            "seconds": median(wall for wall, _ in timed),
            "loop_seconds": median(loop_seconds(stages) for _, stages in timed),
        }
        if device.type == "cuda":
            row["peak_bytes"] = torch.cuda.max_memory_allocated(device)
            row["reserved_bytes"] = torch.cuda.max_memory_reserved(device)
        return row

    def quality(self, options: EngineOptions, plan: SparsityPlan | None = None
                ) -> dict[str, float]:
        """Under the bits that the first setting draws: share of equal greedy bits, and the
        logits' error over their spread."""
        run = SamplingRun(
            self.bench.subject.pipeline.transformer, self.text, self.bench.subject.params,
            choose=ForcedBits(self.bits) if self.bits else None, options=options, plan=plan,
            generators=torch.Generator(self.bench.device).manual_seed(2),
        )
        states = list(run)
        logits = torch.cat([s.logits.flatten(1) for s in states], 1)
        if self.exact is None:
            self.exact, self.bits = logits, [s.bits for s in states]
        error = (logits - self.exact).square().mean().sqrt() / self.exact.std()
        same = greedy_bits(logits) == greedy_bits(self.exact)
        return {"equal_bits": float(same.float().mean()), "logits_error": float(error)}


def run_memory(bench: Bench, found: dict[str, Any], streamed: bool = True) -> None:
    """See the module. Rounds the model's weights: nothing else may be measured on it later."""
    pipeline = bench.subject.pipeline
    text = pipeline.encode_prompt(bench.subject.prompts())
    text = PackedText(text.features.clone(), text.lengths)
    pipeline.text_encoder.to("cpu")
    free(bench.device)
    found["weights_bytes"] = sum(p.nbytes for part in (pipeline.transformer, pipeline.vae)
                                 for p in part.parameters())
    Memory(bench, text).run(found, streamed)

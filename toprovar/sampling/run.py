"""The scale loop: one run from text features to summed codes.

A ``SamplingRun`` owns everything that changes while it samples; the transformer it borrows is
never written to, so several runs may share one. Iterating over it runs scale after scale; stop
iterating and the run is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.fingerprint import model_fingerprint
from ..models.latents import (
    bits_to_codes,
    fold_patches,
    resize_codes,
    tokens_to_grid,
    unfold_patches,
)
from ..models.rope import schedule_rotations
from ..models.text import PackedText
from ..models.transformer import InfinityTransformer
from ..ops import attention as attention_ops
from ..ops.bit_sampling import Generators
from ..sparsity.director import Director, Setting, begin
from ..sparsity.plan import SparsityPlan, dense_plan
from ..sparsity.selection import Selector
from .bits import BitChooser, Sampler, chooser
from .block_runner import BlockRunner
from .cache import CacheLayout, KVCache
from .params import EngineOptions, SamplingParams
from .report import RunReport, ScaleReport
from .sparse import SparseBlocks, Watch


@dataclass(frozen=True)
class ScaleState:
    """What a run hands out after each scale.

    Attributes:
        index: the scale, from 0; ``total`` scales in all.
        logits: [B, N, 2 d] float32 after temperature and guidance.
        bits: [B, N, d] uint8.
        summed_codes: [B, latent channels, H, W] so far; the run's own tensor, not to be changed.
        kept: per layer, indices of the tokens it kept: [n], or [R, n]; layers that kept all, or
            pick tokens for each sub-layer, are absent.
    """

    index: int
    total: int
    grid: tuple[int, int]
    logits: Tensor
    bits: Tensor
    summed_codes: Tensor
    report: ScaleReport
    kept: dict[int, Tensor]


class LayerProbe:
    """Looks into a run without changing it; override what is of interest.

    Tensors are the run's own: copy what is kept.
    """

    def block_input(self, scale: int, layer: int, x: Tensor) -> None:
        """``x`` [R, N, C] residual of all tokens before the block."""

    def attention(self, scale: int, layer: int, q: Tensor, k: Tensor, v: Tensor, out: Tensor
                  ) -> None:
        """``q``, ``out`` [R, H, n, D], ``k``, ``v`` [R, H, M, D] of the processed tokens."""

    def block_output(self, scale: int, layer: int, x: Tensor) -> None:
        """``x`` [R, N, C] residual of all tokens after the block (and after mixing, if any)."""


class SamplingRun:
    """One sampling run.

    Args:
        transformer: borrowed, not changed.
        text: features of the B prompts (raw text-encoder output).
        params: what to sample.
        negative: features in place of the learned null text, one for all or one per prompt.
        plan: which tokens to process, as a value or as a strategy that plans inside the run; None
            = all.
        generators: one for all images (the official order), or one per image; None = torch's own.
        options: how to compute.
        choose: decides the bits instead of the sampler that ``params`` ask for.
        check: called before every layer; an exception it raises ends the run.
        probe: looks into every block.
        watch: gets the entropies it wants.
        selector: picks tokens in place of the plan's rules.
    """

    def __init__(
        self,
        transformer: InfinityTransformer,
        text: PackedText,
        params: SamplingParams,
        *,
        negative: PackedText | None = None,
        plan: SparsityPlan | Director | None = None,
        generators: Generators = None,
        options: EngineOptions | None = None,
        choose: BitChooser | None = None,
        check: Callable[[], None] | None = None,
        probe: LayerProbe | None = None,
        watch: Watch | None = None,
        selector: Selector | None = None,
    ) -> None:
        self.transformer = transformer
        self.params = params
        self.options = options or EngineOptions()
        self.choose = choose or chooser(params, generators)
        self.check = check or (lambda: None)
        self.probe = probe
        self.device = transformer.null_text.device
        shape, schedule = transformer.shape, params.schedule
        if len(schedule) > shape.num_levels:
            raise ValueError(
                f"the schedule has {len(schedule)} scales, the model knows {shape.num_levels}"
            )
        self.mixing_layers = params.mixing_layers(shape.depth)
        self.backend = attention_ops.choose(self.options.attention_backend, self.device)
        self.batch = len(text)
        text = text.to(self.device, torch.float32)
        if params.guided:
            text = PackedText.join([text, self._unconditional(text, negative)])
        self.rows = len(text)
        plan = plan or dense_plan(shape, schedule)
        tagged = not isinstance(plan, SparsityPlan) or plan.model.fingerprint is not None
        self.session, self.notes = begin(plan, Setting(
            shape, schedule, self.batch, params.guided,
            model_fingerprint(transformer) if tagged else None,
        ))
        with torch.inference_mode():
            self.runner = BlockRunner(
                transformer, text, self.batch, self.options, probe,
                by_head=watch is not None and watch.heads,
            )
            self.blocks = SparseBlocks(self.runner, self.session, watch, selector)
            self.rotations = schedule_rotations(schedule, shape.head_dim, self.device)
            self._laid_out = -1
            self._lay_out(0)
            height, width = schedule.grids[-1]
            self.summed_codes = torch.zeros(
                self.batch, shape.latent_channels, height * shape.patch, width * shape.patch,
                device=self.device,
            )
        self.scale_reports: list[ScaleReport] = []

    def __iter__(self) -> Iterator[ScaleState]:
        for scale in range(len(self.params.schedule)):
            if not self.session.plan.scales[scale].run:
                self._skip(scale)
                continue
            # Not held across the yield: the caller's code must not run in inference mode.
            with torch.inference_mode(), attention_ops.held_to(self.backend):
                state = self._run_scale(scale)
            yield state

    def report(self) -> RunReport:
        """What has been run so far."""
        plan = self.session.plan
        return RunReport(
            plan=plan.strategy,
            params=self.params.to_json(),
            scales=tuple(self.scale_reports),
            images=self.batch,
            rows=self.rows,
            device=str(self.device),
            dtype=str(self.transformer.compute_dtype).removeprefix("torch."),
            cache_dtype=str(self.runner.dtype).removeprefix("torch."),
            attention_backend=self.backend,
            kv_bytes=self.runner.cache.nbytes,
            seconds={"scales": sum(s.seconds for s in self.scale_reports)},
            notes=(*self.notes, *plan.notes),
            used_plan=plan,
        )

    def _lay_out(self, scale: int) -> None:
        """Make room in the KV cache for ``scale`` and all that is certain to follow."""
        if scale <= self._laid_out:
            return
        plan, shape = self.session.plan, self.transformer.shape
        horizon = self._laid_out = self.session.horizon(scale)
        layout = CacheLayout.plan(plan.counts[: horizon + 1], horizon + 1 == len(plan.scales))
        rows = self._rows(scale)
        if scale == 0:
            self.runner.cache = KVCache(
                layout, rows, shape.num_heads, shape.head_dim, self.runner.dtype, self.device
            )
        else:
            self.runner.cache = self.runner.cache.relaid(layout, rows)

    def _rows(self, scale: int) -> int:
        """Rows that a scale runs: all, or the conditional ones."""
        return self.rows if self.session.plan.scales[scale].unconditional else self.batch

    def _skip(self, scale: int) -> None:
        """Leave a scale out, with its random draws taken."""
        grid, depth = self.params.schedule.grids[scale], self.transformer.shape.depth
        if isinstance(self.choose, Sampler) and scale < self.session.plan.last_run:
            bits = self.transformer.shape.bits_per_token
            self.choose.skip((self.batch, grid[0] * grid[1], bits), self.device)
        self.scale_reports.append(ScaleReport(
            scale, grid, grid[0] * grid[1], (0,) * depth, self.params.cfg_list[scale],
            self.params.tau_list[scale], 0.0, 0,
        ))

    def _unconditional(self, text: PackedText, negative: PackedText | None) -> PackedText:
        """Null text of each prompt's own length, or the negative prompt's features."""
        if negative is None:
            return self.transformer.null_rows(text.lengths)
        if len(negative) == 1:
            negative = negative.repeat_each(len(text))
        if len(negative) != len(text):
            raise ValueError(
                f"{len(negative)} negative prompts for {len(text)} prompts: give one, or as many"
            )
        return negative.to(self.device, torch.float32)

    def _run_scale(self, scale: int) -> ScaleState:
        started = time.perf_counter()
        grid = self.params.schedule.grids[scale]
        cfg, tau = self.params.cfg_list[scale], self.params.tau_list[scale]
        self._lay_out(scale)
        self.blocks.begin()
        x = self._scale_input(scale)
        guided = cfg != 1 and x.shape[0] > self.batch
        level = self.transformer.level_embed.weight[scale].to(x.dtype)
        shape = self.transformer.shape
        for layer in range(shape.depth):
            self.check()
            if layer == 0 or (shape.level_embed_every_chunk
                              and layer % shape.blocks_per_chunk == 0):
                x.add_(level)
            if self.probe:
                self.probe.block_input(scale, layer, x)
            self.blocks.run(scale, layer, x, self.rotations[scale])
            if guided and layer in self.mixing_layers:
                half = cfg * x[: self.batch] + (1 - cfg) * x[self.batch :]
                x[: self.batch], x[self.batch :] = half, half
            if self.probe:
                self.probe.block_output(scale, layer, x)
        self.check()
        logits = self._logits(x, cfg, tau, guided)
        bits = self.choose(scale, logits)
        self._add_codes(grid, bits, self.blocks.stayed)
        report = ScaleReport(
            scale, grid, grid[0] * grid[1], self.session.plan.counts[scale], cfg, tau,
            time.perf_counter() - started, x.shape[0],
        )
        self.scale_reports.append(report)
        self.session.after(scale, self.summed_codes)
        return ScaleState(
            scale, len(self.params.schedule), grid, logits, bits, self.summed_codes, report,
            dict(self.blocks.kept),
        )

    def _scale_input(self, scale: int) -> Tensor:
        """[R, N, C] residual before the level embedding."""
        if scale == 0:
            x = self.transformer.first_tokens(self.runner.text)[: self._rows(0)]
        else:
            patch = self.transformer.shape.patch
            h, w = self.params.schedule.grids[scale]
            codes = fold_patches(resize_codes(self.summed_codes, (h * patch, w * patch)), patch)
            x = self.transformer.embed_codes(codes).repeat(self._rows(scale) // self.batch, 1, 1)
        return x.to(self.options.residual_dtype)

    def _logits(self, x: Tensor, cfg: float, tau: float, guided: bool) -> Tensor:
        """[R, N, C] -> [B, N, 2 d] logits after temperature and guidance."""
        on_logits = guided and 0 in self.params.cfg_insertion_layer
        rows = self.rows if on_logits else self.batch
        logits = self.transformer.logits(x[:rows], self.runner.text).mul_(1 / tau)
        if not on_logits:
            return logits
        return cfg * logits[: self.batch] + (1 - cfg) * logits[self.batch :]

    def _add_codes(self, grid: tuple[int, int], bits: Tensor, stayed: Tensor | None) -> None:
        """Add the codes of ``bits`` [B, N, d]; those of tokens that left the scale count as 0.

        Args:
            stayed: indices of the tokens that did not, [n] or [R, n]; None = all.
        """
        shape = self.transformer.shape
        values = unfold_patches(tokens_to_grid(bits, grid), shape.patch)
        codes = bits_to_codes(values, shape.latent_channels)
        if stayed is not None:
            index = stayed.expand(self.batch, -1) if stayed.ndim == 1 else stayed[: self.batch]
            here = codes.new_zeros(self.batch, grid[0] * grid[1])
            here = here.scatter_(1, index, 1.0).unflatten(1, grid)[:, None]
            codes = codes * here.repeat_interleave(shape.patch, 2).repeat_interleave(shape.patch, 3)
        size = (self.summed_codes.shape[2], self.summed_codes.shape[3])
        self.summed_codes.add_(resize_codes(codes, size))

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
from ..ops.cross_attention import AbsorbedText, pays
from ..sparsity.plan import DensePlan, TokenPlan
from .bits import BitChooser, chooser
from .cache import CacheLayout, KVCache
from .params import EngineOptions, SamplingParams
from .report import RunReport, ScaleReport


@dataclass(frozen=True)
class ScaleState:
    """What a run hands out after each scale.

    Attributes:
        index: the scale, from 0; ``total`` scales in all.
        logits: [B, N, 2 d] float32 after temperature and guidance.
        bits: [B, N, d] uint8.
        summed_codes: [B, latent channels, H, W] so far; the run's own tensor, not to be changed.
    """

    index: int
    total: int
    grid: tuple[int, int]
    logits: Tensor
    bits: Tensor
    summed_codes: Tensor
    report: ScaleReport


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
        plan: which tokens to process; None = all.
        generators: one for all images (the official order), or one per image; None = torch's own.
        options: how to compute.
        choose: decides the bits instead of the sampler that ``params`` ask for.
        check: called before every layer; an exception it raises ends the run.
        probe: looks into every block.
    """

    def __init__(
        self,
        transformer: InfinityTransformer,
        text: PackedText,
        params: SamplingParams,
        *,
        negative: PackedText | None = None,
        plan: TokenPlan | None = None,
        generators: Generators = None,
        options: EngineOptions | None = None,
        choose: BitChooser | None = None,
        check: Callable[[], None] | None = None,
        probe: LayerProbe | None = None,
    ) -> None:
        self.transformer = transformer
        self.params = params
        self.plan = plan or DensePlan()
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
        self.piece = self.options.piece_for(self.device)

        self.batch = len(text)
        text = text.to(self.device, torch.float32)
        if params.guided:
            text = PackedText.join([text, self._unconditional(text, negative)])
        self.rows = len(text)
        self.cache_dtype = self.options.cache_dtype or transformer.compute_dtype
        self.counts = _validated(
            self.plan.keep_counts(schedule.tokens, shape.depth), schedule.tokens, shape.depth
        )
        with torch.inference_mode():
            self.text = transformer.prepare_text(text)
            self.rotations = schedule_rotations(schedule, shape.head_dim, self.device)
            self.cache = KVCache(
                CacheLayout.plan(self.counts), self.rows, shape.num_heads, shape.head_dim,
                self.cache_dtype, self.device,
            )
            height, width = schedule.grids[-1]
            self.summed_codes = torch.zeros(
                self.batch, shape.latent_channels, height * shape.patch, width * shape.patch,
                device=self.device,
            )
        self.scale_reports: list[ScaleReport] = []
        self._absorbed: dict[int, AbsorbedText] = {}

    def __iter__(self) -> Iterator[ScaleState]:
        for scale in range(len(self.params.schedule)):
            # Not held across the yield: the caller's code must not run in inference mode.
            with torch.inference_mode(), attention_ops.held_to(self.backend):
                state = self._run_scale(scale)
            yield state

    def report(self) -> RunReport:
        """What has been run so far."""
        return RunReport(
            plan=self.plan.name,
            params=self.params.to_json(),
            scales=tuple(self.scale_reports),
            images=self.batch,
            rows=self.rows,
            device=str(self.device),
            dtype=str(self.transformer.compute_dtype).removeprefix("torch."),
            cache_dtype=str(self.cache_dtype).removeprefix("torch."),
            attention_backend=self.backend,
            kv_bytes=self.cache.nbytes,
            seconds={"scales": sum(s.seconds for s in self.scale_reports)},
        )

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
        x = self._scale_input(scale)
        level = self.transformer.level_embed.weight[scale].to(x.dtype)
        shape = self.transformer.shape
        for layer in range(shape.depth):
            self.check()
            if layer == 0 or (shape.level_embed_every_chunk
                              and layer % shape.blocks_per_chunk == 0):
                x.add_(level)
            if self.probe:
                self.probe.block_input(scale, layer, x)
            self._run_block(scale, layer, x)
            if cfg != 1 and layer in self.mixing_layers:
                half = cfg * x[: self.batch] + (1 - cfg) * x[self.batch :]
                x[: self.batch], x[self.batch :] = half, half
            if self.probe:
                self.probe.block_output(scale, layer, x)
        self.check()
        logits = self._guided_logits(x, cfg, tau)
        bits = self.choose(scale, logits)
        self._add_codes(grid, bits)
        report = ScaleReport(
            scale, grid, grid[0] * grid[1], tuple(self.counts[scale]), cfg, tau,
            time.perf_counter() - started,
        )
        self.scale_reports.append(report)
        return ScaleState(
            scale, len(self.params.schedule), grid, logits, bits, self.summed_codes, report
        )

    def _scale_input(self, scale: int) -> Tensor:
        """[R, N, C] residual before the level embedding."""
        if scale == 0:
            x = self.transformer.first_tokens(self.text)
        else:
            patch = self.transformer.shape.patch
            h, w = self.params.schedule.grids[scale]
            codes = fold_patches(resize_codes(self.summed_codes, (h * patch, w * patch)), patch)
            x = self.transformer.embed_codes(codes).repeat(self.rows // self.batch, 1, 1)
        return x.to(self.options.residual_dtype)

    def _run_block(self, scale: int, layer: int, x: Tensor) -> None:
        """One block on the tokens that the plan keeps, into ``x`` [R, N, C] in place."""
        count, total = self.counts[scale][layer], x.shape[1]
        if count == 0:
            return
        rotation = self.rotations[scale]
        if count == total:
            self._run_tokens(scale, layer, x, rotation)
            return
        index = self.plan.select(scale, layer, count, x)
        if index.ndim == 1:
            part = x.index_select(1, index)
            self._run_tokens(scale, layer, part, rotation.index_select(0, index))
            x.index_copy_(1, index, part)
        else:
            part = x.take_along_dim(index[..., None], dim=1)
            self._run_tokens(scale, layer, part, rotation[index])
            x.scatter_(1, index[..., None].expand_as(part), part)

    def _run_tokens(self, scale: int, layer: int, x: Tensor, rotation: Tensor) -> None:
        """One block on tokens ``x`` [R, n, C] in place; ``rotation`` holds their places."""
        block, context = self.transformer.block(layer), self.text.blocks[layer]
        heads = self.transformer.shape.num_heads
        q = torch.empty(*x.shape[:2], heads, x.shape[2] // heads,
                        dtype=self.cache_dtype, device=x.device)
        k_new, v_new = self.cache.new(scale, layer)
        block.project_qkv(x, context, rotation, q, k_new, v_new, self.piece)
        q = q.transpose(1, 2)
        k, v = self.cache.visible(scale, layer)
        out = attention_ops.attention(q, k, v, 1.0)
        if self.probe:
            self.probe.attention(scale, layer, q, k, v, out)
        del q  # as wide as the hidden layer of a piece
        block.finish(x, out.transpose(1, 2).flatten(-2), context, self.piece,
                     self._absorbed_text(layer, x))

    def _absorbed_text(self, layer: int, x: Tensor) -> AbsorbedText | None:
        """The text for cross-attention of tokens ``x``, with a block's projections multiplied in,
        where that is cheaper. Kept for later scales if it is small beside the KV cache."""
        shape, context = self.transformer.shape, self.text.blocks[layer]
        if x.dtype != torch.float32 or not pays(
            x.shape[1], context.text_k.shape[2], shape.num_heads, shape.width,
            self.transformer.compute_dtype,
        ):
            return None
        text = self._absorbed.get(layer)
        if text is None:
            text = self.transformer.block(layer).absorb_text(context)
            if shape.depth * text.nbytes <= self.cache.nbytes // 8:
                self._absorbed[layer] = text
        return text

    def _guided_logits(self, x: Tensor, cfg: float, tau: float) -> Tensor:
        """[R, N, C] -> [B, N, 2 d] logits after temperature and guidance."""
        on_logits = cfg != 1 and 0 in self.params.cfg_insertion_layer
        rows = self.rows if on_logits else self.batch
        logits = self.transformer.logits(x[:rows], self.text).mul_(1 / tau)
        if not on_logits:
            return logits
        return cfg * logits[: self.batch] + (1 - cfg) * logits[self.batch :]

    def _add_codes(self, grid: tuple[int, int], bits: Tensor) -> None:
        shape = self.transformer.shape
        values = unfold_patches(tokens_to_grid(bits, grid), shape.patch)
        codes = bits_to_codes(values, shape.latent_channels)
        size = (self.summed_codes.shape[2], self.summed_codes.shape[3])
        self.summed_codes.add_(resize_codes(codes, size))


def _validated(counts: list[list[int]], tokens: tuple[int, ...], depth: int) -> list[list[int]]:
    """The plan's counts, if they fit the run."""
    if len(counts) != len(tokens) or any(len(row) != depth for row in counts):
        raise ValueError(
            f"the plan covers {len(counts)} scales x {len(counts[0]) if counts else 0} layers, "
            f"the run has {len(tokens)} x {depth}"
        )
    for scale, row in enumerate(counts):
        for layer, count in enumerate(row):
            if not 0 <= count <= tokens[scale]:
                raise ValueError(
                    f"the plan keeps {count} of {tokens[scale]} tokens at scale {scale}, "
                    f"layer {layer}"
                )
    return counts

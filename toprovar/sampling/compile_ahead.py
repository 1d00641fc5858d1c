"""Compiles the kernels of a run before its first scale: which ones follows from its plan."""

from __future__ import annotations

import weakref
from collections.abc import Hashable
from functools import partial

import torch
from torch import Tensor

from ..models.transformer import InfinityTransformer
from ..ops import attention as attention_ops
from ..ops.adaln import gated_add_, modulated_norm
from ..ops.ahead import Ahead, Launch
from ..ops.attention_entropy import attention_with_entropy
from ..ops.fp8 import E4M3
from ..ops.fp8_linear import gelu_quantize, quantize_rows
from ..ops.qk_rope import rotate_qkv
from ..ops.resize_tokens import resize_map, resize_tokens
from ..ops.sparse_attention import Window, window_blocks, windowed_attention
from ..ops.text_attention import text_attention
from ..ops.token_merge import merge_update_
from ..ops.weights_ahead import weights_ahead
from ..ops.widen_cache import widen_cache
from ..sparsity.plan import SparsityPlan
from ..sparsity.selection import Selector
from .device_text import DeviceText
from .fused_runner import FACTORS, FusedRunner
from .layers import Layers
from .sparse import FEW_SHAPES

FEW, MANY = 16, 4096
"""Tokens of the stand-ins: kernels that cut queries into tiles do it in another way for few."""
_READY: weakref.WeakKeyDictionary[InfinityTransformer, set[Hashable]] = weakref.WeakKeyDictionary()
"""Plans whose kernels are compiled, by model."""


def compile_ahead(runner: FusedRunner, plan: SparsityPlan, rows: int, residual: torch.dtype
                  ) -> None:
    """Compile what a run launches; returns when all is compiled. Does nothing for a plan of which
    it was called before.

    Args:
        rows: of the run; residual: its dtype.
    """
    ready = _READY.setdefault(runner.transformer, set())
    key = (plan.scales, plan.compiled.where("measured"), rows, runner.batch, runner.dtype, residual)
    if key not in ready:
        ready.add(key)
        Ahead(launches(runner, plan, rows, residual), runner.every_row.lengths.device).wait()


def launches(runner: FusedRunner, plan: SparsityPlan, rows: int, residual: torch.dtype
             ) -> list[Launch]:
    """One call for each kernel, or for a few that compile quickly; the slowest first."""
    sparse = any(step.sparse and not step.special for step in plan.scales)
    found = _attention(runner, plan, rows)
    kinds = [(runner.every_row, rows)]
    if rows > runner.batch and not all(step.conditional for step in plan.scales):
        kinds.append((runner.every_row.from_row(runner.batch), rows - runner.batch))
    for tokens in (MANY, FEW):
        found += [partial(_see_text, runner, *kind, tokens) for kind in kinds]
    for indexed in (False, True)[: 1 + sparse]:
        found += _block(runner, rows, residual, indexed)
    return found + _choose(runner, plan, rows, residual)


def _attention(runner: FusedRunner, plan: SparsityPlan, rows: int) -> list[Launch]:
    shape, wide = runner.transformer.shape, _wide(runner)

    def run(count: int, entropy: bool) -> None:
        q = _zeros(runner, rows, count, shape.num_heads, shape.head_dim, dtype=wide)
        k = _zeros(runner, rows, shape.num_heads, FEW, shape.head_dim, dtype=wide)
        if entropy:
            attention_with_entropy(q.transpose(1, 2), k, k, 1.0, mean_heads=not runner.by_head)
        else:
            attention_ops.attention(q.transpose(1, 2), k, k, 1.0, many_shapes=True)

    def all_of(counts: set[int], entropy: bool) -> None:
        for count in {max(counts), min(counts)}:  # mostly the same kernel
            run(count, entropy)

    def windowed() -> None:
        blocks = window_blocks(((4, 4), (8, 8)), Window(1, 2), runner.every_row.lengths.device)
        q = _zeros(runner, rows, blocks.queries, shape.num_heads, shape.head_dim, dtype=wide)
        k = _zeros(runner, rows, shape.num_heads, blocks.keys, shape.head_dim, dtype=wide)
        windowed_attention(q.transpose(1, 2), k, k, 1.0, blocks)

    windows: list[Launch] = [windowed] if any(step.window for step in plan.scales) else []
    measured = {block.tokens for step in plan.compiled.scales for block in step.blocks
                if block.measured}
    uneven = _uneven(plan, int(shape.edits))
    return windows + [partial(all_of, counts, entropy)
                      for counts, entropy in ((measured, True), (uneven, False)) if counts]


def _uneven(plan: SparsityPlan, apart: int) -> set[int]:
    """Tokens of the layers of scales for which ``attention`` takes the kernel of any shape.

    Args:
        apart: layers at the start that do not count: see ``SparseBlocks.choose_ahead``.
    """
    found: set[int] = set()
    for step in plan.compiled.scales:
        shapes = {(block.tokens, block.keys) for block in step.blocks[apart:] if block.tokens}
        if len(shapes) > FEW_SHAPES:
            found.update(tokens for tokens, _ in shapes)
    return found


def _see_text(runner: FusedRunner, text: DeviceText, rows: int, tokens: int) -> None:
    shape, own = runner.transformer.shape, text.layer(0)
    q = _zeros(runner, rows, tokens, shape.width, dtype=runner.transformer.compute_dtype)
    text_attention(q, own.text_k[:rows], own.text_v[:rows], text.lengths[:rows],
                   shape.head_dim ** -0.5)


def _block(runner: FusedRunner, rows: int, residual: torch.dtype, indexed: bool) -> list[Launch]:
    """The rest of a block, of all tokens or of some."""
    shape, own, narrow = runner.transformer.shape, runner.every_row.layer(0), \
        runner.transformer.compute_dtype
    layers, wide = Layers(runner.transformer), _wide(runner)
    index = _index(runner, rows) if indexed else None

    def x() -> Tensor:
        return _zeros(runner, rows, FEW, shape.width, dtype=residual)

    def update() -> Tensor:
        return _zeros(runner, rows, FEW, shape.width, dtype=narrow)

    def rotate() -> None:
        factors = FACTORS if runner.dtype == E4M3 else None
        heads, size = shape.num_heads, shape.head_dim
        k, v = (_zeros(runner, rows, heads, FEW, size, dtype=runner.dtype) for _ in range(2))
        rotate_qkv(_zeros(runner, rows, FEW, 3, heads, size, dtype=narrow),
                   _zeros(runner, FEW, size // 2, 2),
                   _zeros(runner, rows, FEW, heads, size, dtype=wide),
                   k.transpose(1, 2), v.transpose(1, 2), own.head_scale, index, factors=factors)
        if factors is not None and not indexed:
            widen_cache(k, v, factors, _zeros(runner, 2, *k.shape, dtype=wide))

    def quantize() -> None:
        gelu_quantize(_zeros(runner, rows, FEW, 4 * shape.width, dtype=narrow))
        quantize_rows(update())

    found: list[Launch] = [
        rotate,
        lambda: layers.add_norm(x(), update(), own.gamma1[:rows], own.cross_gain, own.cross_shift,
                                index),
        lambda: layers.add_norm(x(), update(), None, own.gain2[:rows], own.shift2[:rows], index),
        lambda: layers.norm(x(), own.gain1[:rows], own.shift1[:rows], index),
        lambda: gated_add_(x(), update(), own.gamma2[:rows], index),
    ]
    if not indexed:
        gain, shift = runner.every_row.head
        found.append(lambda: modulated_norm(x(), gain[:rows], shift[:rows], torch.float32))
        if runner.prefetch is not None:
            weight = runner.transformer.block(0).self_attn.proj.weight
            found.append(lambda: weights_ahead(weight))
    return [*found, quantize] if layers.narrow and not indexed else found


def _choose(runner: FusedRunner, plan: SparsityPlan, rows: int, residual: torch.dtype
            ) -> list[Launch]:
    """What every scale needs that leaves tokens out: scale after scale, as most launch the same."""
    batch, shape = runner.batch, runner.transformer.shape
    steps, measured = plan.compiled.scales, plan.compiled.where("measured")
    sparse = [(s, one) for s, one in enumerate(steps) if one.plan.sparse and not one.plan.special]

    def resize() -> None:
        for s, one in sparse:
            if one.guiding:
                known = max(m for m, layer in measured if layer in one.guiding and m < s)
                maps = _zeros(runner, len(one.guiding), batch, *plan.scales[known].grid)
                resize_map(maps, one.plan.grid)

    def select() -> None:
        selector = Selector(plan, batch)
        for s, one in sparse:
            step = one.plan
            maps = _zeros(runner, len(one.guiding), batch, step.tokens)
            some = [layer for layer in range(shape.depth) if step.partial(layer)]
            x = _zeros(runner, 1, 1, shape.width, dtype=residual).expand(rows, step.tokens, -1)
            if one.guiding and not step.together:
                selector.select_in_layers(s, step, one.guiding, maps)
            elif some:
                selector.select(s, some[0], step, x, maps[0] if one.guiding else None)

    def merge() -> None:
        width, index = shape.width, _index(runner, rows)
        for _, one in sparse:
            step = one.plan
            for source in {block.fallback for block in one.blocks if block.fallback is not None}:
                old = plan.scales[source].grid
                cached = _zeros(runner, rows, old[0] * old[1], width, dtype=runner.update_dtype)
                if step.per == "sublayer":
                    resize_tokens(cached, old, step.grid, step.resize)
                    continue
                x = _zeros(runner, rows, step.tokens, width, dtype=residual)
                merge_update_(x, None, index, cached, old, step.grid, step.resize)

    def restore() -> None:
        for one in steps:
            source, step = one.source, one.plan
            if source is not None and step.special:
                old = plan.scales[source].grid
                resize_tokens(_zeros(runner, rows, old[0] * old[1], shape.width, dtype=residual),
                              old, step.grid, "area")

    return [select, resize, merge, restore]


def _wide(runner: FusedRunner) -> torch.dtype:
    """Dtype of queries, and of keys as attention reads them."""
    return runner.transformer.compute_dtype if runner.dtype == E4M3 else runner.dtype


def _index(runner: FusedRunner, rows: int) -> Tensor:
    """The first tokens, by an index of the shape that ``Selector`` gives."""
    index = torch.arange(FEW, device=runner.every_row.lengths.device)
    return index if runner.batch == 1 else index.repeat(rows, 1)


def _zeros(runner: FusedRunner, *size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.zeros(*size, dtype=dtype, device=runner.every_row.lengths.device)

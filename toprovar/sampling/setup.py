"""What a run is put together from: which way blocks are run, whether scales are recorded, and the
shortcuts that its plan names."""

from __future__ import annotations

from collections.abc import Collection

import torch

from ..graphs import why_no_graphs
from ..models.fingerprint import model_fingerprint
from ..models.fp8 import is_quantized
from ..models.text import PackedText
from ..models.transformer import InfinityTransformer
from ..ops.fp8 import E4M3
from ..schedules import ScaleSchedule
from ..sparsity.compiled import CompiledPlan
from ..sparsity.plan import SparsityPlan
from ..sparsity.shortcuts import Shortcuts, find_shortcuts
from .block_runner import BlockRunner
from .bounded_cache import BoundedLayout
from .device_text import DeviceText
from .fused_runner import FusedRunner
from .params import EngineOptions, SamplingParams
from .source import source_tokens
from .streaming import stream_of
from .workspace import Workspace, borrow, release


def borrow_workspace(
    transformer: InfinityTransformer, schedule: ScaleSchedule, batch: int, text: PackedText,
    options: EngineOptions, looked_into: bool, plan: CompiledPlan, runs_again: bool = False,
) -> Workspace | None:
    """A workspace where scales are to be recorded, else None.

    Args:
        text: of all rows.
        looked_into: whether somebody looks at or steers single blocks, which a recording cannot
            stop for.
        plan: as the run begins.
        runs_again: see ``SamplingRun``.

    Raises:
        ValueError: graphs are asked for, but cannot be had.
        torch.OutOfMemoryError: the KV cache does not fit the device.
    """
    if options.graphs is False:
        return None
    reason = why_no_graphs(transformer.null_text.device)
    if reason is None and looked_into:
        reason = "a probe or a selector takes part in every block"
    if reason is None and options.fused is False:
        reason = "only fused blocks work at fixed addresses"
    if reason is not None:
        if options.graphs:
            raise ValueError(f"graphs=True: {reason}")
        return None
    bounded = None
    if plan.bounded:
        bounded = BoundedLayout.plan(plan, source_tokens(transformer.shape, schedule))
    about = (schedule, batch, len(text), max(text.lengths), options, bounded, runs_again)
    try:
        return borrow(transformer, *about)
    except torch.OutOfMemoryError:
        release(transformer)  # what other sizes have left
    return borrow(transformer, *about)


def make_runner(
    transformer: InfinityTransformer, text: PackedText, batch: int, options: EngineOptions,
    probe: object = None, by_head: bool = False, workspace: Workspace | None = None,
) -> BlockRunner | FusedRunner:
    """What runs the blocks.

    Args:
        text: raw features of all rows, conditional rows first.
        workspace: holds text and KV cache of recorded runs.
    """
    if workspace is not None:
        runner = FusedRunner(transformer, workspace.text, batch, options, probe, by_head)
        runner.cache = workspace.cache
        workspace.load(transformer, text)
        return runner
    if not fuses(options, transformer):
        return BlockRunner(transformer, text, batch, options, probe, by_head)
    own = DeviceText(transformer, len(text), max(text.lengths))
    own.prepare(transformer, own.load(text))
    return FusedRunner(transformer, own, batch, options, probe, by_head)


def all_rows(transformer: InfinityTransformer, text: PackedText, negative: PackedText | None,
             params: SamplingParams, away: PackedText | None) -> list[PackedText]:
    """Features of a guided run's rows: conditional, unconditional, and those to steer away from.

    Raises:
        ValueError: there are not as many of the last as of prompts, or they have no say.
    """
    rows = [text, unconditional_text(transformer, text, negative)]
    if away is None:
        return rows
    if len(away) != len(text):
        raise ValueError(f"{len(away)} descriptions to steer away from for {len(text)} prompts: "
                         "give one for each")
    if 0 not in params.cfg_insertion_layer:
        raise ValueError("steering away from a description works on the logits: "
                         "cfg_insertion_layer must hold 0")
    return [*rows, away.to(transformer.null_text.device, torch.float32)]


def unconditional_text(transformer: InfinityTransformer, text: PackedText,
                       negative: PackedText | None) -> PackedText:
    """Features of the unconditional rows: null text of each prompt's own length, or those of the
    negative prompts.

    Raises:
        ValueError: there are neither one nor as many negative prompts as prompts.
    """
    if negative is None:
        return transformer.null_rows(text.lengths)
    if len(negative) == 1:
        negative = negative.repeat_each(len(text))
    if len(negative) != len(text):
        raise ValueError(
            f"{len(negative)} negative prompts for {len(text)} prompts: give one, or one for "
            "each"
        )
    return negative.to(transformer.null_text.device, torch.float32)


def shortcuts_for(
    transformer: InfinityTransformer, plan: SparsityPlan, mixing_layers: Collection[int],
    workspace: Workspace | None = None,
) -> Shortcuts | None:
    """The shortcuts that a plan names, if it uses any.

    Args:
        mixing_layers: whose output guidance mixes: they must run.
        workspace: keeps them where recorded scales read them.

    Raises:
        ValueError: they are not at hand, of another model, or lead past a layer that mixes.
    """
    if not plan.compiled.linear_shortcuts or plan.shortcuts is None:
        return None
    longest = max(shortcut.length for shortcut in plan.compiled.linear_shortcuts)
    if any(layer < longest for layer in mixing_layers):
        raise ValueError(
            f"cfg_insertion_layer mixes guidance in layers {sorted(mixing_layers)}, the plan's "
            f"shortcuts leave out the first {longest}: use 0, or a plan without shortcuts")
    found = find_shortcuts(plan.shortcuts)
    found.check_fits(transformer.shape, plan.compiled.linear_shortcuts,
                     model_fingerprint(transformer))
    if workspace is not None:
        workspace.constants["shortcuts", found.identity] = found
    return found


def fuses(options: EngineOptions, transformer: InfinityTransformer) -> bool:
    """Whether blocks are run in few passes.

    Raises:
        ValueError: they are not to be, but cannot be run otherwise.
    """
    for needed, what in ((stream_of(transformer) is not None, "streamed blocks"),
                         (is_quantized(transformer), "blocks of 8-bit weights"),
                         (options.cache_dtype == E4M3, "a KV cache of 8-bit numbers")):
        if needed and options.fused is False:
            raise ValueError(f"{what} can only be run fused: leave out fused=False")
        if needed:
            return True
    cuda = transformer.null_text.device.type == "cuda"
    return cuda if options.fused is None else options.fused

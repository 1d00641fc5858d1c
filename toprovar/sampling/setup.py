"""What a run is put together from: which way blocks are run, and whether scales are recorded."""

from __future__ import annotations

import logging

import torch

from ..graphs import why_no_graphs
from ..models.fp8 import is_quantized
from ..models.text import PackedText
from ..models.transformer import InfinityTransformer
from ..ops.fp8 import E4M3
from ..schedules import ScaleSchedule
from .block_runner import BlockRunner
from .device_text import DeviceText
from .fused_runner import FusedRunner
from .params import EngineOptions
from .streaming import stream_of
from .workspace import Workspace, borrow, release

logger = logging.getLogger(__name__)


def borrow_workspace(
    transformer: InfinityTransformer, schedule: ScaleSchedule, batch: int, text: PackedText,
    options: EngineOptions, looked_into: bool,
) -> Workspace | None:
    """A workspace where scales are to be recorded, else None.

    Args:
        text: of all rows.
        looked_into: whether somebody looks at or steers single blocks, which a recording cannot
            stop for.

    Raises:
        ValueError: graphs are asked for, but cannot be had.
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
    try:
        return borrow(transformer, schedule, batch, len(text), max(text.lengths), options)
    except torch.cuda.OutOfMemoryError:
        if options.graphs:
            raise
        release(transformer)
        logger.warning("a dense run's KV cache does not fit the device: scales are not recorded")
        return None


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

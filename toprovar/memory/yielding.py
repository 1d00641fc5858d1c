"""A transformer on a device whose memory somebody else shares out: what it holds there, and how it
gives some of that back, or takes more.

Recordings go first, as they are made again by the next runs; then blocks, which are streamed from
host memory from then on.
"""

from __future__ import annotations

import torch
from torch import nn

from ..models.fp8 import LAYERS
from ..models.transformer import InfinityTransformer
from ..sampling import workspace
from ..sampling.lending import forget_lent
from ..sampling.streaming import (
    TEXT,
    forget_stream,
    matrices,
    stream_blocks,
    stream_of,
    streamed_bytes,
)


def weight_bytes(module: nn.Module) -> int:
    """Of all weights, wherever they lie."""
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


def bytes_on(transformer: InfinityTransformer, device: torch.device) -> int:
    """What a transformer holds on a device: weights, rooms of streamed blocks, recordings.

    Blocks that are streamed count as away, also where host memory is the device.
    """
    stream = stream_of(transformer)
    away = set() if stream is None else {
        id(weight) for layer in stream.streamed
        for weight in matrices(transformer.block(layer), (*LAYERS, TEXT)).values()}
    there = sum(t.nbytes for t in (*transformer.parameters(), *transformer.buffers())
                if t.device == device and id(t) not in away)
    return there + (0 if stream is None else stream.device_bytes) \
        + workspace.held_bytes(transformer)


def streamed_count(transformer: InfinityTransformer) -> int:
    """Blocks that wait in host memory."""
    stream = stream_of(transformer)
    return 0 if stream is None else len(stream.streamed)


def give_back(transformer: InfinityTransformer, device: torch.device, nbytes: int) -> int:
    """Free at least so many bytes of the device, and as few blocks as that takes.

    Returns:
        bytes that were freed; 0 where there are not so many to be had: nothing is done then.
    """
    before, recorded = bytes_on(transformer, device), workspace.held_bytes(transformer)
    block, room = _block_bytes(transformer)
    now, depth = streamed_count(transformer), transformer.shape.depth
    for streamed in range(now, depth + 1):
        rooms = 2 * room if streamed and not now else 0
        if recorded + (streamed - now) * block - rooms >= nbytes:
            _stream(transformer, device, streamed)
            return before - bytes_on(transformer, device)
    return 0


def take(transformer: InfinityTransformer, device: torch.device, nbytes: float) -> int:
    """Bring blocks to the device, as many as so many further bytes hold, and all that is not
    streamed, which must be there.

    Returns:
        bytes that were taken.
    """
    before = bytes_on(transformer, device)
    block, room = _block_bytes(transformer)
    depth = transformer.shape.depth
    small = weight_bytes(transformer) - depth * block
    there = transformer.null_text.device == device
    kept = workspace.held_bytes(transformer)
    most = streamed_count(transformer) if there else depth
    for streamed in range(most + 1):
        rooms = 2 * room if streamed else 0
        if streamed == most or small + (depth - streamed) * block + rooms + kept - before <= nbytes:
            break
    if not there or streamed != streamed_count(transformer):
        _stream(transformer, device, streamed)
    return bytes_on(transformer, device) - before


def release(transformer: InfinityTransformer) -> None:
    """Free recordings alone."""
    workspace.release(transformer)
    if transformer.null_text.device.type == "cuda":
        torch.cuda.empty_cache()


def leave(transformer: InfinityTransformer, device: torch.device) -> None:
    """Go to another device, as an ordinary module."""
    workspace.release(transformer)
    forget_lent(transformer)
    forget_stream(transformer)
    nn.Module.to(transformer, device)


def _block_bytes(transformer: InfinityTransformer) -> tuple[int, int]:
    """The matrices of one block, and a room for them."""
    block = transformer.block(0)
    own = sum(weight.nbytes for weight in matrices(block, (*LAYERS, TEXT)).values())
    return own, streamed_bytes(block)[1]


def _stream(transformer: InfinityTransformer, device: torch.device, streamed: int) -> None:
    workspace.release(transformer)
    if streamed != streamed_count(transformer) or transformer.null_text.device != device:
        forget_lent(transformer)
        stream_blocks(transformer, device, transformer.shape.depth - streamed)
    if device.type == "cuda":
        torch.cuda.empty_cache()

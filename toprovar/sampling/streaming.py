"""Blocks whose weights wait in host memory and come to the GPU one ahead of their use.

Two rooms on the device take turns: while a block runs from one, the next block's matrices are
copied into the other on a stream of its own. Norms, biases and modulation, which are small, stay on
the device, and so do the first ``resident`` blocks. Copies from pinned memory are part of a
recorded scale like everything else.

What it costs: the streamed weights cross the bus once for every scale.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor, nn

from ..models.blocks import Block
from ..models.fp8 import LAYERS
from ..models.transformer import InfinityTransformer

TEXT = "cross_attn.to_kv"
"""Streamed apart from the others, for the text's keys and values."""


class BlockStream:
    """The blocks of one transformer, streamed to ``device``.

    Moves the transformer: everything to ``device`` but the streamed matrices, which go to pinned
    host memory. Use :func:`stream_blocks`.
    """

    def __init__(self, transformer: InfinityTransformer, device: torch.device, resident: int
                 ) -> None:
        self.depth, self.device = transformer.shape.depth, device
        self.resident = min(resident, self.depth)
        blocks = [transformer.block(layer) for layer in range(self.depth)]
        pinned = device.type == "cuda"
        for block in blocks[self.resident :]:
            for name in (*LAYERS, TEXT):
                weight = _weight(block, name)
                host = weight.detach().to("cpu", copy=True)
                weight.data = host.pin_memory() if pinned else host
        _move_rest(transformer, device, set(map(id, _streamed(blocks[self.resident :]))))
        self._blocks = blocks
        self._rooms: list[dict[str, Tensor]] = []
        self._shells: list[Block] = []
        if self.resident < self.depth:
            self._rooms = [
                {name: torch.empty_like(_weight(blocks[-1], name), device=device)
                 for name in (*LAYERS, TEXT)} for _ in range(2)
            ]
        for layer, block in enumerate(blocks):
            streamed = layer >= self.resident
            self._shells.append(_shell(block, self._rooms[layer % 2]) if streamed else block)
        self._copies: Any = torch.cuda.Stream(device) if pinned else None
        self._ready: dict[int, Any] = {}

    @property
    def device_bytes(self) -> int:
        """Of the two rooms."""
        return sum(t.nbytes for room in self._rooms for t in room.values())

    def use(self, layer: int, text: bool = False) -> Block:
        """A block with its weights in place; the next one's are on their way.

        Args:
            text: the matrix of the text's keys and values instead of the others.
        """
        if layer >= self.resident:
            if layer not in self._ready:
                self._fetch(layer, text)
            event = self._ready.pop(layer)
            if event is not None:
                torch.cuda.current_stream(self.device).wait_event(event)
        if self.resident <= layer + 1 < self.depth and layer + 1 not in self._ready:
            self._fetch(layer + 1, text)
        return self._shells[layer]

    def join(self) -> None:
        """Wait, on the device, for copies that nobody has used."""
        for event in self._ready.values():
            if event is not None:
                torch.cuda.current_stream(self.device).wait_event(event)
        self._ready.clear()

    def _fetch(self, layer: int, text: bool) -> None:
        """Copy a block's matrices into the room that the block before the last one used."""
        room, block = self._rooms[layer % 2], self._blocks[layer]
        names = (TEXT,) if text else LAYERS
        if self._copies is None:
            for name in names:
                room[name].copy_(_weight(block, name))
            self._ready[layer] = None
            return
        # What has been launched so far may still read the room.
        self._copies.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._copies):
            for name in names:
                room[name].copy_(_weight(block, name), non_blocking=True)
            event = torch.cuda.Event()
            event.record(self._copies)
        self._ready[layer] = event


_STREAMS: weakref.WeakKeyDictionary[InfinityTransformer, BlockStream] = \
    weakref.WeakKeyDictionary()


def stream_blocks(transformer: InfinityTransformer, device: torch.device | str,
                  resident: int = 0) -> BlockStream:
    """Let a transformer run on ``device`` with most of its weights in host memory.

    Args:
        resident: blocks that stay on the device, the first ones.

    Raises:
        ValueError: ``resident`` is negative.
    """
    if resident < 0:
        raise ValueError(f"resident blocks must be 0 or more, got {resident}")
    stream = BlockStream(transformer, torch.device(device), resident)
    _STREAMS[transformer] = stream
    return stream


def stream_of(transformer: InfinityTransformer) -> BlockStream | None:
    return _STREAMS.get(transformer)


def _streamed(blocks: list[Block]) -> list[Tensor]:
    return [_weight(block, name) for block in blocks for name in (*LAYERS, TEXT)]


def _weight(block: Block, name: str) -> Tensor:
    return block.get_parameter(f"{name}.weight")


def _move_rest(module: nn.Module, device: torch.device, streamed: set[int]) -> None:
    for parameter in module.parameters():
        if id(parameter) not in streamed:
            parameter.data = parameter.data.to(device)
    for buffer in module.buffers():
        buffer.data = buffer.data.to(device)


def _shell(block: Block, room: dict[str, Tensor]) -> Block:
    """A block with the matrices of a room and everything else of ``block`` itself."""
    shell = Block.__new__(Block)
    nn.Module.__init__(shell)
    shell.__dict__.update({k: v for k, v in block.__dict__.items() if k not in shell.__dict__})
    _share(shell, block, room, "")
    return shell


def _share(shell: nn.Module, own: nn.Module, room: dict[str, Tensor], path: str) -> None:
    for name, parameter in own._parameters.items():
        key = path.rstrip(".")
        streamed = name == "weight" and key in room
        shell._parameters[name] = (
            nn.Parameter(room[key], requires_grad=False) if streamed else parameter
        )
    shell._buffers.update(own._buffers)
    for name, child in own._modules.items():
        if child is None:
            continue
        copy = type(child).__new__(type(child))
        nn.Module.__init__(copy)
        copy.__dict__.update({k: v for k, v in child.__dict__.items() if k not in copy.__dict__})
        shell._modules[name] = copy
        _share(copy, child, room, f"{path}{name}.")

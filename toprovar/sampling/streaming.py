"""Blocks whose weights wait in host memory and come to the GPU one ahead of their use.

Two rooms on the device take turns: while blocks are run from one, the next streamed block's
matrices are copied into the other. Norms, biases and modulation, which are small, stay on the
device, and so do the blocks that are not streamed; streamed ones lie far apart, so that each is on
its way for as long as the blocks before it are at work. Copies from page-locked memory are part of
a recorded scale like everything else.

What it costs: the streamed weights cross the bus once for every scale.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from ..host_memory import HostBuffer, Packing
from ..models.blocks import Block
from ..models.fp8 import LAYERS
from ..models.transformer import InfinityTransformer
from ..rooms import Rooms, spread

TEXT = "cross_attn.to_kv"
"""Streamed apart from the others, for the text's keys and values."""


class HostBlock:
    """The matrices of one block in host memory; the block's parameters are views of it."""

    def __init__(self, block: Block, device: torch.device) -> None:
        own = matrices(block, LAYERS)
        text = matrices(block, (TEXT,))
        self.layers, self.text = Packing.of(own), Packing.of(text)
        self._layers = HostBuffer(self.layers.nbytes, device)
        self._text = HostBuffer(self.text.nbytes, device)
        for packing, buffer, tensors in ((self.layers, self._layers, own),
                                         (self.text, self._text, text)):
            for name, view in packing.views(buffer.data).items():
                view.copy_(tensors[name])
                block.get_parameter(f"{name}.weight").data = view

    def copy_to(self, room: Tensor, text: bool) -> None:
        host = self._text if text else self._layers
        room[: host.data.nbytes].copy_(host.data, non_blocking=True)


class BlockStream:
    """The blocks of one transformer, some of them streamed to ``device``.

    Moves the transformer: everything to ``device`` but the streamed matrices, which go to
    page-locked host memory. Use :func:`stream_blocks`.

    Attributes:
        streamed: numbers of the blocks that are.
    """

    def __init__(self, transformer: InfinityTransformer, device: torch.device,
                 streamed: Collection[int]) -> None:
        before = _STREAMS.get(transformer)
        self.device, self.streamed = device, tuple(sorted(streamed))
        depth = transformer.shape.depth
        self._blocks = [transformer.block(layer) for layer in range(depth)]
        #: what leaves the device goes first, to make room for what comes
        self._host = {layer: _kept(before, layer) or HostBlock(self._blocks[layer], device)
                      for layer in self.streamed}
        at_home = [p for layer in self.streamed
                   for p in matrices(self._blocks[layer], (*LAYERS, TEXT)).values()]
        _move_rest(transformer, device, set(map(id, at_home)))
        self._shells: dict[int, tuple[Block, Block]] = {}
        self._rooms: list[Tensor] = []
        if self.streamed:
            first = self._host[self.streamed[0]]
            size = max(first.layers.nbytes, first.text.nbytes)
            self._rooms = [torch.empty(size, dtype=torch.uint8, device=device) for _ in range(2)]
            views = [{**first.layers.views(room[: first.layers.nbytes])} for room in self._rooms]
            self._text = [first.text.views(room[: first.text.nbytes])[TEXT]
                          for room in self._rooms]
            for layer in self.streamed:
                block = self._blocks[layer]
                self._shells[layer] = (_shell(block, views[0]), _shell(block, views[1]))
        self._layers = Rooms(device, self._fetch_layers)
        self._texts = Rooms(device, self._fetch_text)

    @property
    def device_bytes(self) -> int:
        """Of the two rooms."""
        return sum(room.nbytes for room in self._rooms)

    def begin(self, layers: Sequence[int], text: bool = False) -> None:
        """The blocks that will be used next, in this order.

        Args:
            text: for their matrices of the text's keys and values instead of the others.
        """
        rooms = self._texts if text else self._layers
        rooms.begin([layer for layer in layers if layer in self._host])

    def use(self, layer: int) -> Block:
        """A block with its weights in place; the next streamed one's are on their way."""
        if layer not in self._host:
            return self._blocks[layer]
        return self._shells[layer][self._layers.use(layer)]

    def text_weight(self, layer: int) -> Tensor:
        """The same of the matrix [2 C, C] of the text's keys and values."""
        if layer not in self._host:
            return self._blocks[layer].cross_attn.to_kv.weight
        return self._text[self._texts.use(layer)]

    def join(self) -> None:
        """Wait, on the device, for copies that nobody has used."""
        self._layers.join()
        self._texts.join()

    def _fetch_layers(self, layer: int, room: int) -> None:
        self._host[layer].copy_to(self._rooms[room], text=False)

    def _fetch_text(self, layer: int, room: int) -> None:
        self._host[layer].copy_to(self._rooms[room], text=True)


_STREAMS: weakref.WeakKeyDictionary[InfinityTransformer, BlockStream] = \
    weakref.WeakKeyDictionary()


def stream_blocks(transformer: InfinityTransformer, device: torch.device | str,
                  resident: int = 0) -> BlockStream:
    """Let a transformer run on ``device`` with weights of blocks in host memory. Calling it again
    changes which ones; with all of them resident it is an ordinary transformer of that device.

    Args:
        resident: blocks that stay on the device.

    Raises:
        ValueError: ``resident`` is negative.
    """
    if resident < 0:
        raise ValueError(f"resident blocks must be 0 or more, got {resident}")
    depth = transformer.shape.depth
    streamed = spread(depth - min(resident, depth), depth)
    stream = BlockStream(transformer, torch.device(device), streamed)
    if streamed:
        _STREAMS[transformer] = stream
    else:
        _STREAMS.pop(transformer, None)
    return stream


def stream_of(transformer: InfinityTransformer) -> BlockStream | None:
    return _STREAMS.get(transformer)


def forget_stream(transformer: InfinityTransformer) -> None:
    """End the streaming: the weights are ordinary ones again, where they are."""
    _STREAMS.pop(transformer, None)


def streamed_bytes(block: Block) -> tuple[int, int]:
    """What streaming a block takes off the device, and a room for one of its kind."""
    own = Packing.of(matrices(block, LAYERS)).nbytes
    text = Packing.of(matrices(block, (TEXT,))).nbytes
    return own + text, max(own, text)


def _kept(before: BlockStream | None, layer: int) -> HostBlock | None:
    """The block as it lies in host memory already, where nobody has moved it since."""
    host = None if before is None else before._host.get(layer)
    if host is None or before is None:
        return None
    weight = matrices(before._blocks[layer], (TEXT,))[TEXT]
    return host if weight.data_ptr() == host._text.data.data_ptr() else None


def matrices(block: Block, names: Sequence[str]) -> dict[str, Tensor]:
    """Weights of a block's linear layers, by name."""
    return {name: block.get_parameter(f"{name}.weight") for name in names}


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

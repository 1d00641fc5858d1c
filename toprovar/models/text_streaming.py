"""A text encoder whose blocks wait in host memory and come to the GPU one ahead of their use.

Encoding a prompt reads every weight once, so that an encoder that is streamed takes as long as one
that is moved to the device for every prompt, with room for two blocks instead of the whole.
Outside of its ``forward`` its weights are those in host memory: it can be saved and moved.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..host_memory import HostBuffer, Packing
from ..rooms import Rooms, spread

KEPT = 16
"""Texts whose features are kept: encoding them again would move all weights again."""


class TextStream:
    """The blocks of one T5 encoder, some of them streamed. Use :func:`stream_text`.

    Args:
        encoder: transformers ``T5EncoderModel``; all but the streamed blocks goes to ``device``.
        streamed: how many of its blocks wait in host memory.

    Attributes:
        streamed: numbers of these blocks.
    """

    def __init__(self, encoder: Any, device: torch.device, streamed: int) -> None:
        self.device = device
        blocks = text_blocks(encoder)
        self.streamed = spread(min(streamed, len(blocks)), len(blocks))
        self._parameters = [large_parameters(blocks[n]) for n in self.streamed]
        self._host: list[HostBuffer] = []
        self._at_home: list[dict[str, Tensor]] = []
        self._packing = Packing((), 0)
        for parameters in self._parameters:
            self._packing = Packing.of(parameters)
            buffer = HostBuffer(self._packing.nbytes, device)
            views = self._packing.views(buffer.data)
            for name, parameter in parameters.items():
                views[name].copy_(parameter.data)
                parameter.data = views[name]
            self._host.append(buffer)
            self._at_home.append(views)
        away = {id(p) for parameters in self._parameters for p in parameters.values()}
        for tensor in (*encoder.parameters(), *encoder.buffers()):
            if id(tensor) not in away:
                tensor.data = tensor.data.to(device)
        self._rooms: list[Tensor] = []
        self._views: list[dict[str, Tensor]] = []
        self._known: OrderedDict[Hashable, Tensor] = OrderedDict()
        self._lock = threading.Lock()
        self._turns = Rooms(device, self._fetch)
        self._hooks: list[Any] = []
        for turn, number in enumerate(self.streamed):
            self._hooks += [
                blocks[number].register_forward_pre_hook(partial(self._come, turn)),
                blocks[number].register_forward_hook(partial(self._go, turn), always_call=True),
            ]

    @property
    def host_bytes(self) -> int:
        return sum(buffer.data.nbytes for buffer in self._host)

    def kept(self, ids: Tensor, mask: Tensor, encode: Callable[[], Tensor]) -> Tensor:
        """Features [B, n, C] of texts, from memory where they were asked for lately.

        Args:
            ids, mask: [B, n] int64 on the CPU; encode: runs the encoder on them.
        """
        key = ids.shape, ids.numpy().tobytes(), mask.numpy().tobytes()
        with self._lock:
            found = self._known.get(key)
            if found is None:
                self.begin()
                try:
                    found = encode()
                finally:
                    self.end()
            self._known[key] = found
            self._known.move_to_end(key)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return found.clone()

    def begin(self) -> None:
        """Make the rooms, and send for the first block."""
        if self.streamed:
            self._rooms = [torch.empty(self._packing.nbytes, dtype=torch.uint8,
                                       device=self.device) for _ in range(2)]
            self._views = [self._packing.views(room) for room in self._rooms]
        self._turns.begin(range(len(self.streamed)))

    def end(self) -> None:
        """Free the rooms: they are needed only while prompts are encoded."""
        self._turns.join()
        self._rooms, self._views = [], []

    def undo(self) -> None:
        """Take the hooks off. The weights stay where they are."""
        for hook in self._hooks:
            hook.remove()

    def _fetch(self, turn: int, room: int) -> None:
        self._rooms[room].copy_(self._host[turn].data, non_blocking=True)

    def _come(self, turn: int, *_: Any) -> None:
        views = self._views[self._turns.use(turn)]
        for name, parameter in self._parameters[turn].items():
            parameter.data = views[name]

    def _go(self, turn: int, *_: Any) -> None:
        for name, parameter in self._parameters[turn].items():
            parameter.data = self._at_home[turn][name]


_STREAMS: WeakKeyDictionary[Any, TextStream] = WeakKeyDictionary()


def stream_text(encoder: Any, device: torch.device | str, streamed: int) -> TextStream | None:
    """Let a text encoder run on ``device`` with ``streamed`` of its blocks in host memory. Calling
    it again changes how many; with none it is an ordinary module of that device."""
    forget_text_stream(encoder)
    if streamed < 1:
        encoder.to(device)
        return None
    stream = _STREAMS[encoder] = TextStream(encoder, torch.device(device), streamed)
    return stream


def forget_text_stream(encoder: Any) -> None:
    """End the streaming: the weights are ordinary ones again, where they are."""
    before = _STREAMS.pop(encoder, None)
    if before is not None:
        before.undo()


def text_stream_of(encoder: Any) -> TextStream | None:
    return _STREAMS.get(encoder)


def text_blocks(encoder: Any) -> list[nn.Module]:
    """The blocks of a transformers T5 encoder."""
    return list(encoder.encoder.block)


def large_parameters(block: nn.Module) -> dict[str, nn.Parameter]:
    """The matrices of a block that are worth streaming: all but norms and the first block's table
    of distances, which later blocks have not."""
    return {name: p for name, p in block.named_parameters()
            if p.ndim > 1 and "relative_attention_bias" not in name}

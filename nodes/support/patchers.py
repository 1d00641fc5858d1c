"""Networks as ComfyUI's memory manager sees them: how much of one is on its device, and how the
manager takes some of that back and gives it again.

This module is imported when the first model is loaded, so that its classes are made of those that
ComfyUI has by then. Newer ComfyUIs know patchers that place single weights while a network runs
("dynamic" ones); these here are of the other kind, as the engine reads its weights by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from math import ceil
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ...toprovar.memory import yielding
from .host import EVERYTHING, Held, Part, model_patcher, unload

if TYPE_CHECKING:
    from ...toprovar.models.transformer import InfinityTransformer


class WholePatcher(model_patcher.ModelPatcher):
    """A network that is on its device as a whole, or not at all."""

    def partially_load(self, device_to: torch.device, extra_memory: float = 0,
                       force_patch_weights: bool = False) -> int:
        return super().partially_load(device_to, EVERYTHING, force_patch_weights)

    def partially_unload(self, device_to: torch.device, memory_to_free: float = 0,
                         force_patch_weights: bool = False) -> int:
        """Nothing: the manager then takes it off the device."""
        return 0

    def detach(self, unpatch_all: bool = True) -> Any:
        found = super().detach(unpatch_all)
        if unpatch_all:
            self.model.left()
        return found


class HeldWhole(Held):
    """What a ``WholePatcher`` holds.

    Args:
        left: called when the network has left its device.
    """

    def __init__(self, net: nn.Module, left: Callable[[], None]) -> None:
        super().__init__(net)
        self.left = left


class BlocksPatcher(model_patcher.ModelPatcher):
    """A transformer of which blocks may wait in host memory, one by one."""

    model: HeldBlocks

    def __init__(self, model: nn.Module, load_device: torch.device, offload_device: torch.device,
                 *more: Any, **named: Any) -> None:
        self.load_device = load_device  # older ComfyUIs ask for the size before they set it
        super().__init__(model, load_device, offload_device, *more, **named)

    def model_size(self) -> int:
        """Of the weights as they are, which a plan may have rounded since; with recordings."""
        return max(yielding.weight_bytes(self.model.net), self._there())

    def loaded_size(self) -> int:
        """What is on the device. Before a run, so much that what is missing is what the run will
        bring there: the manager makes room for that, and others keep the rest of theirs."""
        there, wanted = self._there(), self.model.run_brings
        if wanted is None:
            return there
        return self.model_size() - max(0, min(wanted, self.model_size()) - there)

    def current_loaded_device(self) -> torch.device:
        if self.model.run_brings is not None:  # else the manager would make room for all of it
            return self.load_device
        return self.model.net.null_text.device

    def _there(self) -> int:
        return yielding.bytes_on(self.model.net, self.load_device)

    def partially_load(self, device_to: torch.device, extra_memory: float = 0,
                       force_patch_weights: bool = False) -> int:
        """Take so many further bytes at most; negative ones are given back."""
        if self.model.run_brings is not None:
            return 0
        if extra_memory < 0:
            self.partially_unload(self.offload_device, -extra_memory)
            return 0
        found = yielding.take(self.model.net, device_to, extra_memory)
        self.model.moved(False)
        return found

    def partially_unload(self, device_to: torch.device, memory_to_free: float = 0,
                         force_patch_weights: bool = False) -> int:
        """Free so many bytes if there are as many to be had without all of it leaving."""
        if self._stays():
            return 0
        found = yielding.give_back(self.model.net, self.load_device, ceil(memory_to_free))
        self.model.moved(False)
        return found

    def detach(self, unpatch_all: bool = True) -> Any:
        if unpatch_all:
            if self._stays():
                yielding.release(self.model.net)
            else:
                yielding.leave(self.model.net, self.offload_device)
            self.model.moved(True)
        return super().detach(unpatch_all=False)

    def _stays(self) -> bool:
        """Whether models are to be kept on the GPU (--highvram, --gpu-only)."""
        return self.load_device == self.offload_device and self.load_device.type != "cpu"


class HeldBlocks(Held):
    """What a ``BlocksPatcher`` holds.

    Args:
        moved: called when blocks have come or gone, with whether all of it has left.

    Attributes:
        run_brings: bytes that a run which follows will have on the device, as it places the blocks
            by itself; None = no run follows.
    """

    net: InfinityTransformer

    def __init__(self, net: InfinityTransformer, moved: Callable[[bool], None]) -> None:
        super().__init__(net)
        self.moved = moved
        self.run_brings: int | None = None

    @contextmanager
    def left_to_the_run(self, brings: int) -> Iterator[None]:
        """Within, being loaded means to be known to the manager; blocks stay where they are.

        Args:
            brings: bytes that the run will have on the device.
        """
        self.run_brings = brings
        try:
            yield
        finally:
            self.run_brings = None


class BlocksPart(Part):
    """A transformer in the manager's care."""

    patcher: BlocksPatcher

    def left_to_the_run(self, brings: int) -> AbstractContextManager[None]:
        """See ``HeldBlocks``."""
        return self.patcher.model.left_to_the_run(brings)

    def make_room(self, nbytes: int) -> None:
        """Give back so many bytes, or all of them."""
        own = self.patcher
        if own.partially_unload(own.offload_device, nbytes) < nbytes:
            unload(self)


def whole_part(net: nn.Module, device: torch.device, offload: torch.device,
               left: Callable[[], None] = lambda: None) -> Part:
    """A network that moves as a whole.

    Args:
        net: on the CPU.
        device: where it works; offload: where it waits.
        left: called when it has left ``device``.
    """
    return Part(WholePatcher(_named(HeldWhole, net)(net, left), device, offload))


def blocks_part(net: InfinityTransformer, device: torch.device, offload: torch.device,
                moved: Callable[[bool], None]) -> BlocksPart:
    """A transformer.

    Args:
        moved: see ``HeldBlocks``.
    """
    return BlocksPart(BlocksPatcher(_named(HeldBlocks, net)(net, moved), device, offload))


def _named(kind: type[Any], net: nn.Module) -> type[Any]:
    """Under the network's name, which is what ComfyUI's log shows."""
    return type(type(net).__name__, (kind,), {})

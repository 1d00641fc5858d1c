"""Computations on a module's weights that are recorded as CUDA graphs, one for each input shape.

Modules hold weights only; what is recorded of them is kept beside them and dropped as soon as the
weights lie elsewhere or have changed.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..devices import free_bytes
from ..graphs import GraphPool, why_no_graphs

logger = logging.getLogger(__name__)

Work = Callable[..., Tensor]
Key = tuple[tuple[torch.Size, torch.dtype], ...]


class Weights:
    """Where a module's parameters lie and which version they are, as of now.

    It holds the module's parts but not the module itself.

    Args:
        versions: False = only where they lie; changes in place are no matter then.
    """

    def __init__(self, module: nn.Module, versions: bool = True) -> None:
        self._versions = versions
        self._slots = [(part._parameters, name) for part in module.modules()
                       for name in part._parameters]
        self._seen = self._now()

    def unchanged(self) -> bool:
        return self._now() == self._seen

    def _now(self) -> list[tuple[int, int] | None]:
        return [_state(parameters.get(name), self._versions) for parameters, name in self._slots]


def _state(parameter: Tensor | None, versions: bool) -> tuple[int, int] | None:
    if parameter is None or parameter.device.type == "meta":
        return None
    version = parameter._version if versions and not parameter.is_inference() else 0
    return parameter.data_ptr(), version


_MOVED: WeakKeyDictionary[nn.Module, Callable[[Any], None]] = WeakKeyDictionary()


def when_moved(module: nn.Module, call: Callable[[Any], None]) -> None:
    """Have ``call`` told of ``module`` whenever torch has moved or cast it."""
    _MOVED[module] = call


def has_moved(module: nn.Module) -> None:
    """For the ``_apply`` of modules that others keep recordings of."""
    call = _MOVED.get(module)
    if call is not None:
        call(module)


class Recorded(NamedTuple):
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    output: Tensor


class Replays:
    """The recordings of one computation, by the shapes of its inputs.

    The first call of a shape runs step by step, which also compiles kernels and lets cuDNN choose;
    the second is recorded, as a shape that is met once is not worth it; later ones are replayed.
    All recordings share scratch memory. Without a GPU, everything runs step by step.

    Args:
        name: for messages.
        device: where the computation takes place.
        limit: recordings kept; the one that was not used for longest goes first.
    """

    def __init__(self, name: str, device: torch.device, limit: int = 4) -> None:
        self.name, self.device, self.limit = name, device, limit
        self._pool = GraphPool(device)
        self._reserved = 0
        self._met: OrderedDict[Key, Recorded | None] = OrderedDict()
        self._refused: set[Key] = set()

    def __call__(
        self, work: Work, *inputs: Tensor, graph: bool | None = None, scratch: int = 0
    ) -> Tensor:
        """``work(*inputs)``; without gradients, whatever the mode of the caller.

        Args:
            work: launches kernels on ``device`` and does not wait for it; returns a fresh tensor.
            graph: False = run step by step; True = refuse where nothing can be recorded.
            scratch: bytes that a recording will hold; it is made only where three times as much
                is free.
        """
        reason = why_no_graphs(self.device)
        if graph and reason is not None:
            raise ValueError(f"{self.name}: graph=True was asked for, but {reason}")
        with torch.inference_mode(False), torch.no_grad():
            if graph is False or reason is not None:
                return work(*inputs)
            return self._run(work, inputs, scratch)

    def forget(self) -> None:
        """Drop all recordings, and their memory."""
        self._met.clear()
        self._refused.clear()
        self._pool, self._reserved = GraphPool(self.device), 0

    def recorded(self) -> list[tuple[torch.Size, ...]]:
        """Shapes of the inputs that are recorded now."""
        return [tuple(shape for shape, _ in key)
                for key, found in self._met.items() if found is not None]

    def _run(self, work: Work, inputs: tuple[Tensor, ...], scratch: int) -> Tensor:
        key = tuple((tensor.shape, tensor.dtype) for tensor in inputs)
        recorded = self._met.get(key)
        if recorded is None:
            # Copies lie as those of a recording do, so that kernels are chosen for both.
            inputs = tuple(tensor.clone() for tensor in inputs)
            if key not in self._met or key in self._refused or not self._has_room(scratch):
                result = work(*inputs)
                self._remember(key, None)
                return result
            recorded = self._record(key, work, inputs, scratch)
            if recorded is None:
                return work(*inputs)
        else:
            for fixed, tensor in zip(recorded.inputs, inputs, strict=True):
                fixed.copy_(tensor)
        self._remember(key, recorded)
        recorded.graph.replay()
        return recorded.output.clone()

    def _record(self, key: Key, work: Work, inputs: tuple[Tensor, ...], scratch: int
                ) -> Recorded | None:
        try:
            if scratch > self._reserved and self._pool.reserve(scratch):
                self._reserved = scratch
            graph, output = self._pool.record(lambda: work(*inputs))
        except RuntimeError as error:  # out of memory, or something in it waits for the device
            self._refused.add(key)
            logger.warning("%s cannot be recorded as a CUDA graph and runs step by step: %s",
                           self.name, str(error).partition("\n")[0])
            return None
        return Recorded(graph, inputs, output)

    def _remember(self, key: Key, recorded: Recorded | None) -> None:
        self._met[key] = recorded
        self._met.move_to_end(key)
        kept = [k for k, found in self._met.items() if found is not None]
        for old in kept[: max(0, len(kept) - self.limit)]:
            del self._met[old]
        while len(self._met) > 16 * self.limit:
            self._met.popitem(last=False)

    def _has_room(self, scratch: int) -> bool:
        if scratch == 0:
            return True
        free = free_bytes(self.device)
        return free is None or free >= 3 * scratch

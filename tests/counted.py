"""Bytes of tensors that are alive, counted operation by operation, on a device that cannot tell."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Counted(TorchDispatchMode):
    """While it is on: what the results of operations hold at most at once.

    Args:
        known: tensors that exist already; their bytes count from the start.

    Attributes:
        peak: bytes.
    """

    def __init__(self, known: list[Tensor]) -> None:
        super().__init__()
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0
        for tensor in known:
            self._note(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._note(leaf)
        self._alive = {key: found for key, found in self._alive.items()
                       if not found[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._alive.values()))
        return result

    def _note(self, tensor: Tensor) -> None:
        if tensor.device.type == "meta":
            return
        storage = tensor.untyped_storage()
        self._alive.setdefault(storage._cdata, (StorageWeakRef(storage), storage.nbytes()))


def tensors_of(*modules: torch.nn.Module) -> list[Tensor]:
    return [t for module in modules for t in (*module.parameters(), *module.buffers())]

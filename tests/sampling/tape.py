"""A CUDA graph's behaviour on a CPU: operations recorded once, replayed on the same addresses.

Recording computes nothing that lasts, as on a GPU: every tensor made while recording is poisoned
afterwards, and every tensor changed is put back. Replaying runs the recorded operations on the
recorded tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Result = TypeVar("Result")


class Tape(TorchDispatchMode):
    """The recorded operations."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Tensor]]] = []
        self.before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            raise RuntimeError(f"{func} waits for the device while a graph is recorded")
        for i, about in enumerate(func._schema.arguments):
            given = args[i] if i < len(args) else kwargs.get(about.name)
            if about.is_write and isinstance(given, Tensor):
                self.before.setdefault(id(given), (given, given.clone()))
        result = func(*args, **kwargs)
        made = [t for t in tree_leaves(result) if isinstance(t, Tensor)]
        self.calls.append((func, args, kwargs, made))
        return result

    def rewind(self) -> None:
        """Undo and poison."""
        known = {t.untyped_storage().data_ptr() for t, _ in self.before.values()}
        for _, args, kwargs, made in self.calls:
            given = {t.untyped_storage().data_ptr() for t in tree_leaves((args, kwargs))
                     if isinstance(t, Tensor)}
            for tensor in made:
                place = tensor.untyped_storage().data_ptr()
                if place not in given | known and tensor.is_floating_point():
                    tensor.fill_(float("nan"))
        for tensor, copy in reversed(self.before.values()):
            tensor.copy_(copy)

    def replay(self) -> None:
        with torch.inference_mode():
            for func, args, kwargs, made in self.calls:
                again = [t for t in tree_leaves(func(*args, **kwargs)) if isinstance(t, Tensor)]
                for old, new in zip(made, again, strict=True):
                    if old.data_ptr() != new.data_ptr():
                        old.copy_(new)


class TapePool:
    """Stands in for ``toprovar.graphs.GraphPool``."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def reserve(self, nbytes: int) -> bool:
        return nbytes > 0

    def record(self, work: Callable[[], Result]) -> tuple[Tape, Result]:
        tape = Tape()
        with tape:
            result = work()
        tape.rewind()
        return tape, result

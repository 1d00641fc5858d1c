"""CUDA graphs: device work recorded once, launched again as one.

A graph replays the very kernels of its recording on the very addresses, so everything it reads and
writes must stay where it was. Graphs that are recorded into one pool share their scratch memory;
what one of them leaves behind is safe only in tensors that somebody holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")
_clear_workspaces: Callable[[], None] = getattr(torch._C, "_cuda_clearCublasWorkspaces",
                                                lambda: None)


class GraphPool:
    """Scratch memory that the graphs of one device share. They must not run at the same time."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream: torch.cuda.Stream | None = None
        self._handle: Any = None
        self._reserved: torch.cuda.CUDAGraph | None = None

    def record(self, work: Callable[[], Result]) -> tuple[torch.cuda.CUDAGraph, Result]:
        """Record ``work``, which has run at least once before (kernels are compiled, handles made)
        and never waits for the device. Nothing is computed yet: replay the graph for that.

        Returns:
            the graph, and what ``work`` returned: tensors in it are the graph's outputs.
        """
        if self._stream is None:
            self._stream = torch.cuda.Stream(self.device)
            self._handle = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # cuBLAS keeps its workspace for good. One made while recording would lie in the pool, which
        # could never be freed; without it the pool gets it back as scratch.
        _clear_workspaces()
        try:
            return graph, self._recorded(graph, work)
        finally:
            _clear_workspaces()

    def _recorded(self, graph: torch.cuda.CUDAGraph, work: Callable[[], Result]) -> Result:
        with torch.cuda.device(self.device), torch.cuda.graph(
            graph, pool=self._handle, stream=self._stream, capture_error_mode="thread_local"
        ):
            return work()


    def reserve(self, nbytes: int) -> bool:
        """Take the scratch memory of all recordings in one piece, before the first of them.

        Otherwise every recording takes pieces of its own sizes, which larger ones cannot use.

        Returns:
            whether there was so much; if not, recordings take what they need.
        """
        def touch() -> Tensor:
            found = torch.zeros(1, device=self.device)  # so that there is something to record
            torch.empty(nbytes, dtype=torch.uint8, device=self.device)
            return found

        try:
            self._reserved, _ = self.record(touch)
        except torch.OutOfMemoryError:
            return False
        return True


def why_no_graphs(device: torch.device) -> str | None:
    """None when work on ``device`` can be recorded, else the reason in words."""
    if device.type != "cuda":
        return f"graphs are recorded on NVIDIA GPUs, this is {device.type}"
    if torch.version.hip is not None:
        return "graphs are made for NVIDIA GPUs, this is an AMD one"
    return None

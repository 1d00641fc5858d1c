"""torch's switches of attention kernels, which all threads share, set for one call at a time.

The switches belong to the process. Two threads that set them and put them back as they found them
can leave them changed for good, and one computes with the kernel that the other asked for. Here
calls that want the same kernels run side by side, and calls that want others wait for them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch


class Flags:
    """Who uses the switches, and for which kernels."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._kernels: tuple[str, ...] = ("auto",)
        self._users = 0
        self._held: AbstractContextManager[object] | None = None
        self._free = True  # before they were set

    @contextmanager
    def only(self, *kernels: str) -> Iterator[None]:
        """torch may use these kernels and no others; ("auto",) leaves the switches alone.

        For one call of attention, in which nothing else is waited for.
        """
        with self._turn:
            self._turn.wait_for(lambda: not self._users or self._kernels == kernels)
            if not self._users:
                self._set(kernels)
            self._users += 1
        try:
            yield
        finally:
            with self._turn:
                self._users -= 1
                if not self._users:
                    self._put_back()
                    self._turn.notify_all()

    def free(self) -> bool:
        """Whether the program lets torch use cuDNN's kernel and FlashAttention."""
        with self._turn:
            return _free() if self._held is None else self._free

    def _set(self, kernels: tuple[str, ...]) -> None:
        self._kernels = kernels
        if kernels == ("auto",):
            return
        from torch.nn.attention import SDPBackend, sdpa_kernel

        known = {"flash": SDPBackend.FLASH_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION,
                 "cudnn": SDPBackend.CUDNN_ATTENTION, "math": SDPBackend.MATH}
        self._free = _free()
        held = sdpa_kernel([known[name] for name in kernels])
        held.__enter__()
        self._held = held

    def _put_back(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held.__exit__(None, None, None)


def _free() -> bool:
    return torch.backends.cuda.cudnn_sdp_enabled() and torch.backends.cuda.flash_sdp_enabled()


FLAGS = Flags()
"""The process's only one."""

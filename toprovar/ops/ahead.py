"""Kernels compiled ahead of their first use, several at a time.

Triton compiles a kernel when it is first launched, which takes half a second, so a first picture
would wait for one after the other. Launches on small stand-ins, made in threads, compile them at
the same time: most of a compilation does not hold Python's lock. What is missing among the
launches is compiled when it is needed, as ever.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from .triton_support import why_no_triton

logger = logging.getLogger(__name__)

Launch = Callable[[], object]


class Ahead:
    """Launches that are being made. Does nothing where there is no Triton for the device.

    Args:
        launches: each compiles one kernel, or a few; those that take longest first.
        device: current in the threads.
    """

    def __init__(self, launches: Sequence[Launch], device: torch.device) -> None:
        self.device = device
        self._waiting: list[Future[None]] = []
        if not launches or device.type != "cuda" or torch.version.hip or why_no_triton():
            return
        pool = ThreadPoolExecutor(min(len(launches), os.cpu_count() or 1), "compile kernels")
        self._waiting = [pool.submit(self._try, launch) for launch in launches]
        pool.shutdown(wait=False)

    def wait(self) -> None:
        """Return when all is compiled and has run."""
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done.result()
        if waiting:  # the stand-ins may be on another stream than what follows
            torch.cuda.synchronize(self.device)

    def _try(self, launch: Launch) -> None:
        try:
            with torch.inference_mode(), torch.cuda.device(self.device):
                launch()
        except Exception:  # what needs the kernel will say so, or do without
            logger.debug("a kernel could not be compiled ahead", exc_info=True)

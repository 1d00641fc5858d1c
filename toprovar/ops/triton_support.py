"""Whether Triton can be used here, found out without importing it before it is needed."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import os

logger = logging.getLogger(__name__)


@functools.cache
def interpreting() -> bool:
    """Whether Triton runs its kernels in the interpreter (TRITON_INTERPRET=1), on any device.

    Triton decides when a kernel is defined, so the answer holds for the life of the process.
    """
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes", "y")


@functools.cache
def why_no_triton() -> str | None:
    """None when ``import triton`` works, else the reason in words; it is logged once."""
    if importlib.util.find_spec("triton") is None:
        reason = "triton is not installed"
    else:
        try:
            importlib.import_module("triton.language")
            return None
        except Exception as error:  # a broken installation must not stop a run
            reason = f"triton cannot be imported ({type(error).__name__}: {error})"
    logger.warning("%s: operations run in plain torch instead, correct but slower", reason)
    return reason


def bucket(n: int) -> int:
    """``n`` rounded up to a power of two: for autotune keys, so that few exist."""
    return 1 << max(n - 1, 0).bit_length()

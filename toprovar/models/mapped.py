"""Weights that are views of a file, and copies of them.

A view costs no memory until it is read, but the file must stay as it is: where it was cut short,
the system kills the process (SIGBUS), and no program can answer that with an error.
"""

from __future__ import annotations

from typing import Any

COPIED_BYTES = 128 << 20
"""Weights of a component up to here are copied when it is loaded: it takes less than 0.1 s."""


def is_copied(nbytes: int, disable_mmap: bool) -> bool:
    """Whether a component of so many bytes is copied into memory when it is loaded."""
    return disable_mmap or nbytes <= COPIED_BYTES


def copy_weights(module: Any, disable_mmap: bool) -> None:
    """Copy the weights of a module if they are small or if that was asked for."""
    weights = [*module.parameters(), *module.buffers()]
    if is_copied(sum(weight.nbytes for weight in weights), disable_mmap):
        for weight in weights:
            weight.data = weight.data.clone()

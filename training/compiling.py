"""Optional compilation of hot functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from toprovar.models.autoencoder import ResidualBlock

_SHAPES = 64


def compiled(function: Callable[..., Any], wanted: bool) -> Callable[..., Any]:
    """``function`` for fixed shapes through torch.compile, or as it is."""
    return torch.compile(function, dynamic=False) if wanted else function


def compile_blocks(model: nn.Module) -> None:
    """Compile the residual blocks of an autoencoder, one by one for fixed shapes.

    Blocks of one shape share a compilation, so that the wait is a third of that for the whole.
    """
    import torch._dynamo.config  # takes its time, and only a GPU run needs it

    torch._dynamo.config.recompile_limit = _SHAPES
    for block in model.modules():
        if isinstance(block, ResidualBlock):
            block.compile(dynamic=False)


@contextmanager
def uncompiled() -> Iterator[None]:
    """Compiled functions and modules run as they were written."""
    with torch.compiler.set_stance("force_eager"):
        yield

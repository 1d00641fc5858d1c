"""Optional compilation of hot functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def compiled(function: Callable[..., Any], wanted: bool) -> Callable[..., Any]:
    """``function`` for fixed shapes through torch.compile, or as it is."""
    return torch.compile(function, dynamic=False) if wanted else function

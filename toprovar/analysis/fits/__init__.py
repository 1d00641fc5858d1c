"""What strategies decide by, fitted to a model's own pictures.

Each strategy with a ``Fit`` has a module or folder of its name here: it drives the pipeline, so it
cannot stand with the strategy, below it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from ...pipeline import InfinityPipeline
from ...schedules import ScaleSchedule
from ...sparsity.strategies.registry import fits
from ..measure import OnImage


class Fitted(Protocol):
    """What was fitted."""

    def save(self, path: str | Path) -> None: ...


class Fitting(Protocol):
    """The functions of such a module."""

    def check(self) -> None:
        """Refuse, with a ValueError, before anything is drawn, where something is missing."""
        ...

    def runs_of(self, images: int) -> int:
        """Runs that ``fit`` makes for so many pictures of one size."""
        ...

    def fit(self, pipeline: InfinityPipeline, prompts: Sequence[str], seeds: Sequence[int], *,
            schedules: Sequence[ScaleSchedule], batch: int, provenance: dict[str, Any],
            on_images: OnImage, **how: Any) -> Any:
        """A ``Fitted``.

        Args:
            batch: images at once; provenance: to be recorded with it.
            on_images: to be told of finished runs.
            how: the settings of the strategy's ``Fit``; anything else the pipeline takes.
        """
        ...

    def told(self, found: Any) -> Iterable[str]:
        """What ``fit`` gave, in lines for the terminal."""
        ...


def fitting_of(strategy: str) -> Fitting:
    """Where a strategy's fit is made."""
    module = fits()[strategy].module or f"{__name__}.{strategy}"
    return cast(Fitting, import_module(module))

"""Which method a run was recorded with, and what its strategy says of such runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..sparsity.strategies.base import Recordings
from ..sparsity.strategies.registry import all_strategies

DENSE = "dense"


def recordings() -> dict[str, Recordings]:
    """By the name of the strategy; runs of methods that are not here are not supported."""
    return {name: one.recordings for name, one in all_strategies().items() if one.recordings}


def method_of(settings: Mapping[str, Any], goldens: Collection[str]) -> str:
    """The method's name, where run.json does not give it by what only its runs have.

    Args:
        settings: run.json; goldens: names of the golden tensors.
    """
    if "method" in settings:
        return str(settings["method"])
    return next((name for name, one in recordings().items()
                 if one.known and one.known(settings, goldens)), DENSE)


def guests() -> dict[str, str]:
    """Folders of runs without weights of their own, and the family beside them whose they are."""
    return {name: one.weights_from for name, one in recordings().items() if one.weights_from}

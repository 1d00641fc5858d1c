"""Which strategies there are: those of this package, and those of installed packages.

Another package adds its own by an entry point of the group ``toprovar.strategies``, which names a
module with ``STRATEGIES``, a tuple of ``base.Strategy``.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
import re
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from .base import Fit, Settings, Strategy

logger = logging.getLogger(__name__)

GROUP = "toprovar.strategies"
AUTO = "auto"
"""Not a strategy but the choice whether to use one."""
NOT_METHODS = ("base", "options", "registry")
NAME = re.compile(r"[a-z][a-z0-9]*")


@lru_cache(maxsize=1)
def all_strategies() -> dict[str, Strategy[Any]]:
    """Every strategy by name, in the order of lists. One of another package that cannot be read is
    left out with a warning."""
    package = importlib.import_module(__name__.rpartition(".")[0])
    found = [strategy for module in sorted(m.name for m in pkgutil.iter_modules(package.__path__))
             if module not in NOT_METHODS
             for strategy in importlib.import_module(f"{package.__name__}.{module}").STRATEGIES]
    known = {strategy.name: strategy for strategy in found}
    for point in entry_points(group=GROUP):
        for strategy in _loaded(point):
            if strategy.name in known:
                logger.warning("the strategy %r of %s is left out: there is one of that name",
                               strategy.name, point.value)
            else:
                known[strategy.name] = strategy
    return dict(sorted(known.items(), key=lambda item: (item[1].rank, item[0])))


def _loaded(point: EntryPoint) -> list[Strategy[Any]]:
    """Of another package: whatever is wrong with it must not break this one."""
    try:
        found = list(point.load().STRATEGIES)
        for strategy in found:
            check_strategy(strategy)
    except Exception as error:
        logger.warning("the strategies of %s cannot be used: %s", point.value, error)
        return []
    return found


def check_strategy(strategy: Strategy[Any]) -> None:
    """Refuse one that lacks something.

    Raises:
        TypeError: it is no Strategy, has no proper name, or a field of its settings or of its
            fit's has no Option.
    """
    from .options import options_in, options_of

    if not isinstance(strategy, Strategy) or not issubclass(strategy.settings, Settings):
        raise TypeError(f"expected a Strategy with Settings, got {strategy!r}")
    if not NAME.fullmatch(strategy.name):
        raise TypeError(f"a strategy's name is lower-case letters and digits, got "
                        f"{strategy.name!r}")
    options_of(strategy)
    if strategy.fit is not None:
        options_in(strategy.fit.settings)


def fits() -> dict[str, Fit]:
    """Of the strategies that decide by what is fitted to a model, by name."""
    return {name: one.fit for name, one in all_strategies().items() if one.fit is not None}


def names() -> tuple[str, ...]:
    """Those that can be planned by and compared, "dense" first."""
    return tuple(name for name, one in all_strategies().items() if not one.choice)


def with_targets() -> tuple[str, ...]:
    """Those that a budget or speed-up can be asked of, and that are compared."""
    return tuple(name for name in names() if all_strategies()[name].targets)


def default_strategy() -> str:
    """What a budget or speed-up alone asks for."""
    return next(name for name, one in all_strategies().items() if one.default)


def get_strategy(name: str) -> Strategy[Any]:
    """By name.

    Raises:
        ValueError: there is none of that name.
    """
    known = all_strategies()
    if name not in known:
        raise ValueError(f"unknown strategy {name!r}; expected one of "
                         f"{', '.join((*names(), AUTO))}")
    return known[name]

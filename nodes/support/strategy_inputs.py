"""Strategies' settings as inputs of a node, derived from the strategies themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ...toprovar.sparsity.strategies.base import Settings
from ...toprovar.sparsity.strategies.options import Known, options_of, settings_of
from ...toprovar.sparsity.strategies.registry import get_strategy, names
from .host import io
from .schema import advanced

STRATEGIES = [*names()[1:], names()[0]]
"""As the node lists them: the default first, dense last."""
LARGEST = (1 << 53) - 1
"""The largest whole number that a browser holds exactly."""


def key(known: Known) -> str:
    """The input of a setting."""
    return f"{known.strategy}_{known.name}"


def strategy_inputs(since: int) -> list[io.Input]:
    """Inputs of the strategies that came with one release of the node: those for experts last."""
    return _inputs(known for known in _known() if get_strategy(known.strategy).since == since)


def later_inputs() -> list[io.Input]:
    """Those of all strategies that came after the first release, release by release: saved graphs
    know inputs by their place."""
    releases = sorted({get_strategy(name).since for name in STRATEGIES} - {1})
    return [one for since in releases for one in strategy_inputs(since)]


def inputs_of(strategy: str) -> list[io.Input]:
    """Inputs of one strategy, all optional: those for experts last."""
    return _inputs(_known(strategy), optional=True)


def _inputs(known: Iterable[Known], optional: bool = False) -> list[io.Input]:
    every = list(known)
    return [_shown(one, _input(one, optional)) for rare in (False, True) for one in every
            if one.option.advanced == rare]


def _shown(known: Known, made: io.Input) -> io.Input:
    """An input with what the browser is to know of it."""
    if known.option.decided and hasattr(made, "extra_dict"):
        made.extra_dict = {**(made.extra_dict or {}), "decided_by_target": True}
    return advanced(made) if known.option.advanced else made


def _known(strategy: str | None = None) -> Iterator[Known]:
    for name in STRATEGIES if strategy is None else [strategy]:
        yield from (known for known in options_of(get_strategy(name)) if known.option.node)


def _input(known: Known, optional: bool = False) -> io.Input:
    option = known.option
    about: dict[str, Any] = {"tooltip": option.tooltip or f"{option.help[:1].upper()}"
                             f"{option.help[1:].removesuffix('.')}."}
    default = known.default if option.node_default is None else option.node_default
    if optional or get_strategy(known.strategy).since > 1:
        about["optional"] = True  # requests from before these inputs were there stay valid
    if known.choices:
        words = [option.labels.get(value, value) for value in known.choices]
        if option.node_unset is not None:
            words = [option.node_unset, *words]
        shown = option.node_unset if default is None else option.labels.get(default, default)
        return io.Combo.Input(key(known), options=words, default=shown, **about)
    if known.kind is bool:
        return io.Boolean.Input(key(known), default=bool(default), **about)
    if known.kind is tuple:
        return io.String.Input(key(known), default=", ".join(f"{n:g}" for n in default), **about)
    if known.kind is str:
        return io.String.Input(key(known), default=default or "", **about)
    shown = option.node_unset if default is None else default
    low = min(x for x in (known.low, option.node_unset) if x is not None) \
        if (known.low, option.node_unset) != (None, None) else 0
    if known.kind is int:
        high = 256 if known.high is None else min(int(known.high), LARGEST)
        more = {"control_after_generate": False} if known.name == "seed" else {}
        return io.Int.Input(key(known), default=shown, min=max(int(low), 0 if known.low is not None
                            and known.low < -LARGEST else -LARGEST), max=high, **more, **about)
    return io.Float.Input(key(known), default=shown, min=low, max=1.0 if known.high is None
                          else known.high, step=option.step or 0.01, **about)


def settings_from(strategy: str, values: Mapping[str, Any], target: bool) -> Settings:
    """A strategy's settings from the node's inputs.

    Args:
        values: inputs by name, of this strategy and others.
        target: whether a budget or speed-up decides some of them.

    Raises:
        ValueError: the first fault, by the input's name.
    """
    found: dict[str, Any] = {}
    for known in _known(strategy):
        value = values.get(key(known))
        if value is None or (target and known.option.decided) or value == known.option.node_unset:
            continue
        if known.choices:
            value = _chosen(known, value)
        elif known.kind is tuple:
            value = _numbers(known, value)
        found[known.name] = value
    method = get_strategy(strategy)
    return settings_of(method, found, {k.name: key(k) for k in _known(strategy)})


def _chosen(known: Known, value: Any) -> Any:
    by_label = {known.option.labels.get(v, v): v for v in known.choices}
    if value not in by_label and value not in known.choices:
        words = [*by_label] if known.option.node_unset is None else [known.option.node_unset,
                                                                     *by_label]
        raise ValueError(f"{key(known)} must be one of {', '.join(words)}, got {value!r}")
    return by_label.get(value, value)


def _numbers(known: Known, text: Any) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in str(text).split(","))
    except ValueError:
        told = ", ".join(f"{each:g}" for each in known.default)
        raise ValueError(f"{key(known)} must be numbers with commas between them, such as {told}, "
                         f"got {text!r}") from None

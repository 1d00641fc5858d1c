"""Strategies' settings as command line options, derived from the strategies themselves."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from ..arguments import number, whole
from ..sparsity.strategies.base import Resource, Settings, Shorthand, Strategy
from ..sparsity.strategies.options import Known, options_of, settings_of
from ..sparsity.strategies.registry import all_strategies, get_strategy, names

TYPES = {int: int, float: float, str: str, tuple: str}


def add_strategy_options(parser: argparse.ArgumentParser) -> None:
    """A group for every strategy, and one for its settings that are for experts."""
    for name in names():
        strategy = get_strategy(name)
        known = options_of(strategy)
        group = parser.add_argument_group(name, strategy.summary)
        for option in known:
            if not option.option.advanced:
                add_option(group, option)
        for one in strategy.shorthands:
            group.add_argument(one.flag, dest=dest(name, one.name), type=int, metavar="N",
                               help=one.help + " (default: none)")
        for one in strategy.resources:
            group.add_argument(one.flag, dest=dest(name, one.name), metavar="FILE", help=one.help)
        if any(option.option.advanced for option in known):
            group = parser.add_argument_group(f"{name}, for experts")
            for option in known:
                if option.option.advanced:
                    add_option(group, option)


def add_option(group: Any, known: Known) -> None:
    """A setting as an option of a parser, or of a group in one."""
    if known.flag is None:
        return
    how: dict[str, Any] = {}
    if known.kind is bool:
        how["choices"] = ["yes", "no"]
    elif known.choices:
        how["choices"] = list(known.choices)
    else:
        how["type"] = TYPES[known.kind]
        how["metavar"] = known.option.metavar or {int: "N", float: "X"}.get(known.kind, "TEXT")
    group.add_argument(known.flag, dest=dest(known.strategy, known.name),
                       help=known.option.help + _default(known), **how)


def _default(known: Known) -> str:
    """ " (default: ...)", or nothing where the help says it."""
    if "(default" in known.option.help:
        return ""
    if known.default is None:
        return f" (default: {known.option.unset})" if known.option.unset else ""
    told = ("yes" if known.default else "no") if known.kind is bool else f"{known.default}"
    return f" (default: {told})"


def dest(strategy: str, name: str) -> str:
    """Of an option, in parsed arguments; ``strategy`` as ``Known`` has it."""
    return f"{strategy}_{name}" if strategy else name


def flags(strategy: Strategy[Any]) -> Iterator[tuple[str, str, bool, Known | Shorthand | Resource]]:
    """(name, flag, whether a target decides it, itself) of every option of a strategy."""
    for known in options_of(strategy):
        if known.flag is not None:
            yield known.name, known.flag, known.option.decided, known
    for one in (*strategy.shorthands, *strategy.resources):
        yield one.name, one.flag, one.decided, one


def given(arguments: argparse.Namespace, strategy: str) -> dict[str, Any]:
    """The options of a strategy that were given, by name; none of one that is no strategy."""
    if strategy not in all_strategies():
        return {}
    found = {name: getattr(arguments, dest(strategy, name), None)
             for name, *_ in flags(get_strategy(strategy))}
    return {name: value for name, value in found.items() if value is not None}


def given_told(arguments: argparse.Namespace, strategy: str) -> dict[str, Any]:
    """The same for records: files without the folders of this machine."""
    from pathlib import Path

    own = given(arguments, strategy)
    files = {r.name for r in get_strategy(strategy).resources} if own else set()
    return {name: Path(value).name if name in files else value for name, value in own.items()}


def parsed(arguments: argparse.Namespace, strategy: str) -> tuple[Settings, dict[str, str]]:
    """What the options of a strategy say: its settings, and the files that they name.

    Raises:
        ValueError: naming the option.
    """
    method, own = get_strategy(strategy), given(arguments, strategy)
    values: dict[str, Any] = {}
    files: dict[str, str] = {}
    spelt: dict[str, str] = {}
    for name, flag, _, one in flags(method):
        spelt[name] = flag
        if name not in own:
            continue
        if isinstance(one, Resource):
            files[name] = own[name]
        elif isinstance(one, Shorthand):
            values[name] = whole(flag, own[name], one.low, one.high)
        else:
            values[name] = value_of(one, own[name])
    return settings_of(method, values, spelt), files


def value_of(known: Known, given: Any) -> Any:
    """Of a setting, from what stands on the command line."""
    if known.kind is bool:
        return given == "yes"
    if known.kind is tuple:
        return _numbers(known.flag or known.name, given, known.default)
    return given


def loaded(strategy: str, files: dict[str, str]) -> dict[str, Any]:
    """What the files of a strategy's options hold; a ValueError names the file."""
    return {one.name: one.load(files[one.name]) for one in get_strategy(strategy).resources
            if one.name in files}


def _numbers(flag: str, text: str, example: Any) -> tuple[float, ...]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        told = ",".join(f"{each:g}" for each in example or (0.4, 0.5))
        raise ValueError(f"{flag} must look like {told}, got {text!r}") from None
    return tuple(number(flag, each) for each in found)

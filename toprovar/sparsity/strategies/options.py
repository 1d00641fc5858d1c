"""The options of a strategy's settings, as the command line and nodes read them."""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from .base import LIKE_OTHERS, Option, Settings, Strategy


@dataclass(frozen=True)
class Known:
    """A field of settings.

    Attributes:
        strategy, name: whose, and which; "" = of a command that is about one strategy.
        option: how it is shown.
        kind: bool, int, float, str, or tuple for numbers in a row.
        default: None = not given.
        choices: of a Literal, else empty.
        low, high: bounds, inclusive; None = none.
    """

    strategy: str
    name: str
    option: Option
    kind: type
    default: Any
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None

    @property
    def flag(self) -> str | None:
        if self.option.flag == LIKE_OTHERS:
            own = self.name.replace("_", "-")
            return f"--{self.strategy}-{own}" if self.strategy else f"--{own}"
        return self.option.flag


def options_of(strategy: Strategy[Any]) -> tuple[Known, ...]:
    """Those of a strategy's settings, as ``options_in``."""
    return options_in(strategy.settings, strategy.name)


def options_in(settings: type[Settings], strategy: str = "") -> tuple[Known, ...]:
    """Every field in the order in which it stands.

    Args:
        strategy: whose they are, see ``Known``.

    Raises:
        TypeError: a field carries no ``Option``, or is of a kind that cannot be shown.
    """
    return tuple(_known(strategy, name, field, strategy or settings.__name__)
                 for name, field in settings.model_fields.items())


def _known(strategy: str, name: str, field: FieldInfo, told: str) -> Known:
    option = next((m for m in field.metadata if isinstance(m, Option)), None)
    if option is None:
        raise TypeError(f"{told}: the setting {name} has no Option")
    kind: Any = field.annotation
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(each for each in get_args(kind) if each is not type(None))
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    bounds = list(field.metadata)
    if get_origin(kind) is tuple:  # of its numbers
        for about in getattr(get_args(kind)[0], "__metadata__", ()):
            bounds += about.metadata if isinstance(about, FieldInfo) else [about]
    kind = str if choices else get_origin(kind) or kind
    if kind not in (bool, int, float, str, tuple):
        raise TypeError(f"{told}: the setting {name} is of a kind that has no input: {kind}")
    low = high = None
    for bound in bounds:
        if isinstance(bound, Ge):
            low = bound.ge
        elif isinstance(bound, Le):
            high = bound.le
        elif isinstance(bound, Gt) and kind is int:
            low = bound.gt + 1  # type: ignore[operator]
        elif isinstance(bound, Lt) and kind is int:
            high = bound.lt - 1  # type: ignore[operator]
    return Known(strategy, name, option, kind, field.get_default(call_default_factory=True),
                 choices, low, high)  # type: ignore[arg-type]


def settings_of(strategy: Strategy[Any], values: dict[str, Any], spelt: dict[str, str] | None = None
                ) -> Settings:
    """Those of a strategy, as ``settings_in``."""
    return settings_in(strategy.settings, values, spelt)


def settings_in(settings: type[Settings], values: dict[str, Any],
                spelt: dict[str, str] | None = None) -> Settings:
    """Settings from ``values``.

    Args:
        spelt: name -> how the user knows it; None = by its name.

    Raises:
        ValueError: the first fault, in one line.
    """
    try:
        return settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:
            raise ValueError(message) from None
        name = str(first["loc"][0])
        known = next((o for o in options_in(settings) if o.name == name), None)
        if known and None not in (known.low, known.high) and "_than" in first["type"]:
            message = f"must be between {known.low:g} and {known.high:g}"
        colon = "" if message.startswith("must ") else ":"
        raise ValueError(f"{(spelt or {}).get(name, name)}{colon} {message}, got "
                         f"{first['input']!r}") from None

"""Inputs that come and go with a choice, where this ComfyUI has them; plain ones where it has not.

Whichever a server has, a group's members are known by the same plain names: requests and workflows
of a server without dynamic inputs stay valid on one with them. There a member's full name is
GROUP.MEMBER, and the node gets a dictionary for each group: ``plain_values`` undoes that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .host import io
from .schema import KNOWN

LAYOUT = "toprovar_layout"
"""Name of what the browser is told, among the options of one input of a node."""

_combo: Any = getattr(io, "DynamicCombo", None)
_autogrow: Any = getattr(io, "Autogrow", None)

DYNAMIC = _combo is not None and _autogrow is not None and "accept_all_inputs" in KNOWN
"""Whether this ComfyUI has them, and takes plain names beside them."""

MOST = 50
"""Inputs that a growing group may have."""


def choice(name: str, options: Mapping[str, Sequence[io.Input]], tooltip: str,
           optional: bool = False) -> io.Input:
    """A choice, and beneath it the inputs of what was chosen; the first option is the default.
    Only where ``DYNAMIC``.

    Args:
        options: all of their inputs must be optional, so that requests by plain names are valid.
    """
    return _combo.Input(name, [_combo.Option(key, list(inputs)) for key, inputs in options.items()],
                        tooltip=tooltip, optional=optional)


def growing(name: str, template: io.Input, member: str, tooltip: str) -> io.Input:
    """Inputs ``member``_1, ``member``_2 ..., always one more than are connected. Only where
    ``DYNAMIC``."""
    names = [f"{member}_{n}" for n in range(1, MOST + 1)]
    return _autogrow.Input(name, _autogrow.TemplateNames(template, names, min=1), tooltip=tooltip)


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs by their plain names. What was not given is left out."""
    found = {name: value for name, value in values.items()
             if value is not None and not isinstance(value, dict)}
    for group in values.values():
        if isinstance(group, dict):
            for name, value in group.items():
                if isinstance(value, tuple):  # (value, full name), while ComfyUI asks for lazy ones
                    value = value[0]
                if value is not None:
                    found[name] = value
    return found


def with_layout(given: io.Input, plain: Sequence[str | io.Input],
                dynamic: Sequence[str | io.Input],
                groups: Mapping[str, Mapping[str, Sequence[io.Input]]],
                implied: Mapping[str, str] | None = None) -> io.Input:
    """The input, with what the browser must know to open workflows of either kind of server.

    Args:
        plain: widgets in the order of a server without dynamic inputs; groups by their names.
        dynamic: the same with them, without groups' members.
        groups: name -> choice -> its members; of sockets, the choice is "".
        implied: plain sockets that are no inputs here, though they are taken -> the socket which
            brings the same, where both are from one node.
    """
    every = [*plain, *(one for options in groups.values() for member in options.values()
                       for one in member)]
    given.extra_dict = {**(given.extra_dict or {}), LAYOUT: {
        "plain": _names(plain), "dynamic": _names(dynamic), "is_dynamic": DYNAMIC,
        "implied": dict(implied or {}) if DYNAMIC else {},
        "groups": {name: {key: _names(members) for key, members in options.items()}
                   for name, options in groups.items()},
        "defaults": {**{name: next(iter(options)) for name, options in groups.items()},
                     **{one.id: one.default for one in every if hasattr(one, "default")}},
    }}
    return given


def _names(inputs: Sequence[str | io.Input]) -> list[str]:
    return [one if isinstance(one, str) else one.id for one in inputs]

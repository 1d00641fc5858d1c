"""Whether what comes in through this pack's sockets is what they are for.

The editor joins only sockets of one type. Nodes that pass anything on (switches, lists) and
requests over the API can still bring something else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import wraps
from importlib import import_module
from typing import Any, NamedTuple, ParamSpec, TypeVar

Given = ParamSpec("Given")
Found = TypeVar("Found")


class Socket(NamedTuple):
    """What a socket takes: a class, by module and name, and where it comes from."""

    module: str
    kind: str
    source: str


_PROMPTS = Socket(".infinity", "Prompts", "conditioning of Infinity Text Encode (CLIP Text Encode "
                                          "is for other models)")
_REPORT = Socket(".runs", "Report", "report of an Accelerated Sampler")
SOCKETS = {
    "model": Socket(".infinity", "Infinity", "model of Load Infinity (other loaders load other "
                                             "models)"),
    "text_encoder": Socket(".infinity", "TextEncoder", "text encoder of Load Infinity (a CLIP is "
                                                       "for other models)"),
    "conditioning": _PROMPTS,
    "negative": _PROMPTS,
    "plan": Socket(".infinity", "PlanChoice", "plan of Sparsity Planner or Load Plan, or the used "
                                              "plan of an Accelerated Sampler"),
    "size": Socket("...toprovar.schedules", "ScaleSchedule", "size of Infinity Size"),
    "trace": Socket(".traces", "Traced", "trace of Entropy Analyzer"),
    "drafts": Socket(".drafts", "Drafts", "drafts of Infinity Draft, Infinity Encode or Load "
                                          "Draft"),
}
"""By the names of inputs."""
_IS_REPORT = re.compile(r"reference_report|report_[1-9]\d*")


def checked(method: Callable[Given, Found]) -> Callable[Given, Found]:
    """A node's method that refuses what its sockets are not for.

    Raises:
        ValueError: names the input, what it takes and what came.
    """

    @wraps(method)
    def run(*args: Given.args, **values: Given.kwargs) -> Found:
        check_sockets(values)
        return method(*args, **values)

    return run


def check_sockets(values: Mapping[str, Any]) -> None:
    """Refuse values of inputs, by their names, that are not what the inputs take."""
    for name, value in values.items():
        if isinstance(value, dict):  # a group of inputs
            check_sockets(value)
        socket = _REPORT if _IS_REPORT.fullmatch(name) else SOCKETS.get(name)
        if socket is None or value is None:
            continue
        kind = getattr(import_module(socket.module, __package__), socket.kind)
        if not isinstance(value, kind):
            raise ValueError(f"{name} is not what this input takes: it got {_told(value)}. Connect "
                             f"the {socket.source}")


def _told(value: Any) -> str:
    """Kind of a value, as a user may know it."""
    if isinstance(value, dict) and "samples" in value:
        return "a LATENT"
    if isinstance(value, list):
        return "a list, such as a CONDITIONING of other models is"
    return f"an object of the type {type(value).__name__}"

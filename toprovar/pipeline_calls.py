"""The calls of a pipeline that are in flight, and which of them an interrupt is meant for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(eq=False)
class Flight:
    """One call: the thread that made it, and whether it is to end."""

    thread: int
    stop: bool = False


class CallsInFlight:
    """Base of the pipeline: ``interrupt``, for each call apart."""

    _flights: list[Flight]

    @property
    def interrupt(self) -> bool:
        """Set it to True to end a call after the scale that it is at. Inside a call, such as in a
        callback, this ends that call alone. From another thread it ends all calls that are running
        at that moment. Later calls are not affected."""
        return any(flight.stop for flight in self._meant())

    @interrupt.setter
    def interrupt(self, value: bool) -> None:
        for flight in self._meant():
            flight.stop = value

    _interrupt = interrupt
    """diffusers' name, which callbacks written for its pipelines set."""

    def _meant(self) -> list[Flight]:
        flights = list(self._flights)
        own = [flight for flight in flights if flight.thread == threading.get_ident()]
        return own[-1:] or flights


def in_flight(call: Callable[P, R]) -> Callable[P, R]:
    """A pipeline method that ``interrupt`` ends."""

    @wraps(call)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        flights: list[Flight] = args[0]._flights  # type: ignore[attr-defined]  # the pipeline
        flight = Flight(threading.get_ident())
        flights.append(flight)
        try:
            return call(*args, **kwargs)
        finally:
            flights.remove(flight)

    return wrapped

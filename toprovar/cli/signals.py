"""Signals that end a command, so that it clears what it was writing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Terminated(KeyboardInterrupt):  # as KeyboardInterrupt, it is no error
    """A signal asked the command to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM and SIGHUP end what runs inside as Ctrl-C does, instead of killing it on the spot.

    Handlers that the program around set are left alone, and so are ignored signals (nohup).
    """
    replaced: dict[int, Any] = {}

    def end(number: int, frame: Any) -> None:
        for other in replaced:
            signal.signal(other, signal.SIG_IGN)  # what follows is clearing up
        raise Terminated(number)

    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) == signal.SIG_DFL:
                replaced[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in replaced.items():
            signal.signal(number, handler)

"""Two rooms on a device that take turns: while one is worked from, the other is filled.

What does not fit the device waits in host memory and is copied in one item ahead of its use, on a
stream of its own, so that copies and work overlap. Nothing waits for the host, so that all of it
can be part of a recorded graph. On a CPU the copies are made when they are due.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch

Fetch = Callable[[int, int], None]
"""(item, room) -> copy the item into the room; launched where the copies go."""


class Rooms:
    """The order in which items come and go.

    Args:
        device: where the rooms are.
        fetch: a method that copies an item in; on a GPU it must not wait. Its object owns the rooms
            and is held weakly, so that their memory goes with it at once.
    """

    def __init__(self, device: torch.device, fetch: Fetch) -> None:
        self.device, self._method = device, weakref.WeakMethod(fetch)
        self._copies: Any = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._order: dict[int | None, int | None] = {}
        self._held: list[int | None] = [None, None]
        self._arrived: list[Any] = [None, None]
        self._last = 1
        self._pending = False

    def begin(self, items: Sequence[int]) -> None:
        """The items that will be used next, in this order; the first one is sent for."""
        self.join()
        self._order = dict(pairwise([*items, None]))
        self._last = 1
        if items:
            self._send_for(items[0], 0)

    def use(self, item: int) -> int:
        """The room in which an item now is, for work on the current stream; the item after it is
        on its way. Items that nobody announced come at once."""
        if item in self._held:
            room = self._held.index(item)
        else:
            room = 1 - self._last
            self._send_for(item, room)
        arrived, self._arrived[room] = self._arrived[room], None
        if arrived is not None:
            torch.cuda.current_stream(self.device).wait_event(arrived)
        self._last = room
        following = self._order.get(item)
        if following is not None and following not in self._held:
            self._send_for(following, 1 - room)
        return room

    def send(self, copy: Callable[[], None]) -> None:
        """Copy something out of a room, after all work so far and before the room's next item."""
        if self._copies is None:
            copy()
            return
        self._pending = True
        self._copies.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._copies):
            copy()

    def join(self) -> None:
        """Have the current stream wait for all copies; what the rooms hold is forgotten."""
        if self._pending:
            torch.cuda.current_stream(self.device).wait_stream(self._copies)
        self._pending = False
        self._held, self._arrived = [None, None], [None, None]
        self._order = {}

    def _fetch(self, item: int, room: int) -> None:
        method = self._method()
        if method is None:
            raise RuntimeError("the owner of these rooms is gone")
        method(item, room)

    def _send_for(self, item: int, room: int) -> None:
        self._held[room] = item
        if self._copies is None:
            self._fetch(item, room)
            return
        self._pending = True
        # What has been launched so far may still read the room.
        self._copies.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._copies):
            self._fetch(item, room)
            arrived = torch.cuda.Event()
            arrived.record(self._copies)
        self._arrived[room] = arrived


def spread(count: int, among: int) -> tuple[int, ...]:
    """``count`` of the numbers below ``among``, as far apart as can be: copies of what they stand
    for then overlap with the work of those between."""
    if not 0 <= count <= among:
        raise ValueError(f"expected 0 to {among}, got {count}")
    return tuple((i + 1) * among // count - 1 for i in range(count))

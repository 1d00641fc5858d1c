"""How many pictures are drawn at once: as many as pay, by what batches of each size took."""

from __future__ import annotations

from dataclasses import dataclass, field

MOST = 64
GAIN = 1.05
"""By which factor twice as many must be quicker, a picture, to be kept."""


@dataclass
class Sizer:
    """The size of the next batch of one kind (one size, one plan).

    It doubles as long as that pays; what a batch takes is believed from its second time on, as the
    first records and compiles. Where memory ran out it is halved, for good.

    Args:
        fixed: pictures at once, 0 = by measurement.
    """

    fixed: int = 0
    size: int = field(init=False, default=1)
    most: int = field(init=False, default=MOST)
    _runs: int = field(init=False, default=0)
    _best: tuple[float, int] = field(init=False, default=(0.0, 1))
    _settled: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        if self.fixed:
            self.size, self._settled = self.fixed, True

    def took(self, pictures: int, seconds: float) -> None:
        """A batch is done; one that was not full says nothing."""
        if self._settled or pictures != self.size:
            return
        self._runs += 1
        if self._runs < 2:
            return
        rate = pictures / max(seconds, 1e-9)
        if rate < self._best[0] * GAIN:
            self.size, self._settled = self._best[1], True
            return
        self._best, self._runs = (rate, self.size), 0
        self.size = min(2 * self.size, self.most)
        self._settled = self.size == self._best[1]

    def ran_out(self, pictures: int) -> None:
        """A batch of so many did not fit the memory."""
        self.most = max(1, pictures // 2)
        self.size = min(self.size, self.most)
        self._settled = True

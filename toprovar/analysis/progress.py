"""What a calibration tells while it is at work: how far it is, and what it has found."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..entropy.calibration import Calibration
from ..sparsity.shortcuts import Shortcuts
from .drawing import Work
from .findings import Findings

SHARES = {"look": 0.07, "ways": 0.11, "choices": 0.19, "shortcuts": 0.5, "race": 0.84,
          "starts": 0.90, "worth": 1.0}
"""Of the time, by which each part is over; what one leaves goes to the next."""


@dataclass(frozen=True)
class Progress:
    """How far a calibration is.

    Attributes:
        part: one of ``SHARES``, or "done"; words: the same for people.
        share: of the whole, 0 to 1; seconds: spent; left: still to come, None if not known.
        pictures: drawn.
    """

    part: str
    words: str
    share: float
    seconds: float
    left: float | None
    pictures: int


@dataclass(frozen=True)
class Result:
    """The result of a calibration, also of one that is not finished.

    Attributes:
        calibration: the calibration. None = too little has been measured for one.
        shortcuts: the linear maps that the calibration uses. None = it uses none.
        findings: every measurement, picture by picture; a later calibration can go on from them.
        all_shortcuts: all linear maps that were fitted, used or not.
        work: how many pictures were drawn, and what they cost.
    """

    calibration: Calibration | None
    shortcuts: Shortcuts | None
    findings: Findings
    all_shortcuts: Shortcuts | None
    work: Work

    def save(self, path: str | Path) -> list[Path]:
        """Write the calibration as JSON, and its shortcuts beside it. ``make_plan`` takes the file
        as ``calibration``, and so does ``--calibration`` of the command line.

        Returns:
            the files that were written.

        Raises:
            ValueError: too little was measured for a calibration.
        """
        from .calibration_files import save_result

        return save_result(self, path)


WORDS = {"look": "drawing in full", "ways": "what dropped tokens get",
         "choices": "scales and guidance", "shortcuts": "fitting shortcuts",
         "race": "choosing what to leave out", "starts": "where pruning may start",
         "worth": "entropy against chance"}

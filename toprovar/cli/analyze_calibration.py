"""``toprovar analyze --calibrate``: ``toprovar calibrate`` on the prompts of an analysis, without a
limit of time."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import share, whole
from .calibrating import Wanted, calibrate_model, calibration_outputs, check_calibration_file
from .measuring import MOST_PICTURES
from .outputs import Output

if TYPE_CHECKING:
    from ..schedules import ScaleSchedule


def add_calibration(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("calibration").add_argument
    add("--calibrate", metavar="FILE",
        help="calibrate the model on these prompts, however long it takes, and write FILE (JSON), "
             "and its shortcuts beside it (.safetensors) (default: only measure; 'toprovar "
             "calibrate' does it in minutes)")
    add("--shortcut-pictures", type=int, default=96, metavar="N",
        help="pictures that shortcuts through the first layers are fitted to; 0 = no shortcuts "
             "(default: 96)")
    add("--target-ssim", type=float, default=0.95,
        help="similarity to the dense picture that counts as unharmed (default: 0.95)")
    add("--ratio-scale", choices=["log", "raw"], default="log",
        help="layer scores from the logarithm of sigma1/sigma2, or from the ratio itself as "
             "published (default: log)")


def check_calibration(arguments: argparse.Namespace) -> None:
    """Refuse what can be refused before the model is loaded."""
    if arguments.scales or arguments.layers or arguments.heads or arguments.out:
        raise ValueError("--calibrate measures every scale and layer and writes one file: leave "
                         "out --scales, --layers, --heads and --out")
    check_calibration_file("--calibrate", arguments.calibrate)
    whole("--shortcut-pictures", arguments.shortcut_pictures, 0, MOST_PICTURES)
    share("--target-ssim", arguments.target_ssim)


def outputs_of(arguments: argparse.Namespace) -> list[Output]:
    """What will be written, and perhaps less."""
    return calibration_outputs("--calibrate", Path(arguments.calibrate),
                               bool(arguments.shortcut_pictures))


def calibrate(arguments: argparse.Namespace, pipeline: Any, prompts: list[str],
              schedules: list[ScaleSchedule]) -> None:
    """Measure, fit, write and tell."""
    calibrate_model(arguments, pipeline, prompts, schedules, Wanted(
        out=Path(arguments.calibrate), minutes=None,
        shortcut_pictures=arguments.shortcut_pictures, most_bytes=None, go_on=False,
        command="analyze --calibrate", keep_progress=False))

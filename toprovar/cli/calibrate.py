"""``toprovar calibrate``: measure in minutes what a model's plans need to know."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import check_prompts, positive, seed_list, share, whole
from .calibrating import Wanted, calibrate_model, calibration_outputs, check_calibration_file
from .early import check_model, check_sampling
from .measuring import (
    MOST_PICTURES,
    add_prompts,
    add_sizes,
    given_prompts,
    schedules_of,
    tell_notes,
)
from .model_options import add_device, add_model, load_pipeline
from .outputs import add_overwrite, check_outputs
from .picture_prompts import prompts_of_pictures

if TYPE_CHECKING:
    from typing import Any

SHORTCUT_PICTURES = 400
"""That shortcuts are fitted to at most; minutes end it before."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("prompt", nargs="*", help="what to draw and measure (default: the prompts in the box)")
    add_model(parser)
    add_prompts(parser, 48)
    add("--from-pictures", metavar="DIR",
        help="the prompts of pictures that 'toprovar generate' wrote to a folder, the latest first "
             "(default: none)")
    add_sizes(parser, "more than one may be given")
    add("--minutes", type=float, default=5.0,
        help="when to stop; what was found by then is used, and the next calibration of the same "
             "model, prompts and sizes goes on from there (default: 5.0)")
    add("--target-ssim", type=float, default=0.95,
        help="similarity to the dense picture that counts as unharmed (default: 0.95)")
    add("--no-shortcuts", action="store_true",
        help="fit no shortcuts through the first layers (default: they are fitted)")
    add("--most-mb", type=float, metavar="MB",
        help="largest file of shortcuts; the least useful are left out (default: 100, and 150 for "
             "models wider than 2048)")
    add("--fresh", action="store_true",
        help="begin anew (default: go on from earlier measurements of the same model, prompts and "
             "sizes)")
    add("--out", metavar="FILE",
        help="JSON file, with the shortcuts beside it (default: a file in the user's folder of "
             "calibrations, where every command finds it)")
    add("--json", action="store_true", help="print one JSON object instead of tables")
    add_overwrite(parser)
    add_device(parser)


def run(arguments: argparse.Namespace) -> int:
    prompts = given_prompts(arguments, none=True)
    if arguments.from_pictures is not None:
        prompts += check_prompts("--from-pictures", prompts_of_pictures(arguments.from_pictures))
    positive("--minutes", arguments.minutes)
    share("--target-ssim", arguments.target_ssim)
    if arguments.most_mb is not None:
        positive("--most-mb", arguments.most_mb)
    whole("--num-seeds", arguments.num_seeds, 1, MOST_PICTURES)
    check_sampling(arguments)
    seed_list(arguments.seed + arguments.num_seeds - 1, 1)
    schedules_of(arguments, "1M")
    if arguments.out:
        check_calibration_file("--out", arguments.out)
        check_outputs(arguments, calibration_outputs("--out", Path(arguments.out), True))
    check_model(arguments)
    pipeline: Any = load_pipeline(arguments)
    pipeline.set_progress_bar_config(disable=True)
    tell_notes(pipeline, prompts)
    calibrate_model(arguments, pipeline, prompts, schedules_of(
        arguments, pipeline.config["default_pn"]), Wanted(
            out=Path(arguments.out) if arguments.out else None, minutes=arguments.minutes,
            shortcut_pictures=0 if arguments.no_shortcuts else SHORTCUT_PICTURES,
            most_bytes=None if arguments.most_mb is None else int(arguments.most_mb * 2**20),
            go_on=not arguments.fresh, command="calibrate", keep_progress=True))
    return 0

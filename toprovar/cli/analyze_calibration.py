"""``toprovar analyze --calibrate``: a model's calibration, and its shortcuts."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import share, whole
from ..printable import printable
from .analyze_tables import show_calibration
from .early import check_target
from .measuring import MOST_PICTURES, command_line, sampling_of
from .outputs import CALIBRATION, SHORTCUTS, Output

if TYPE_CHECKING:
    from ..schedules import ScaleSchedule


def add_calibration(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("calibration").add_argument
    add("--calibrate", metavar="FILE",
        help="calibrate the model on these prompts and write FILE (JSON), and its shortcuts beside "
             "it (.safetensors) (default: only measure)")
    add("--shortcut-pictures", type=int, default=96, metavar="N",
        help="pictures that shortcuts through the first layers are fitted to; 0 = no shortcuts "
             "(default: 96)")
    add("--target-ssim", type=float, default=0.8,
        help="similarity to the dense picture that counts as unharmed (default: 0.8)")
    add("--ratio-scale", choices=["log", "raw"], default="log",
        help="layer scores from the logarithm of sigma1/sigma2, or from the ratio itself as "
             "published (default: log)")


def check_calibration(arguments: argparse.Namespace) -> None:
    """Refuse what can be refused before the model is loaded."""
    if arguments.scales or arguments.layers or arguments.heads or arguments.out:
        raise ValueError("--calibrate measures every scale and layer and writes one file: leave "
                         "out --scales, --layers, --heads and --out")
    if Path(arguments.calibrate).suffix == ".safetensors":
        raise ValueError("--calibrate writes JSON, and shortcuts beside it: give FILE.json")
    whole("--shortcut-pictures", arguments.shortcut_pictures, 0, MOST_PICTURES)
    share("--target-ssim", arguments.target_ssim)
    check_target("--calibrate", arguments.calibrate)


def calibration_outputs(arguments: argparse.Namespace) -> list[Output]:
    """What will be written, and perhaps less."""
    file = Path(arguments.calibrate)
    found = [Output("--calibrate", file, CALIBRATION)]
    if arguments.shortcut_pictures:
        found.append(Output("--calibrate", file.with_suffix(".safetensors"), SHORTCUTS))
    return found


def calibrate_model(arguments: argparse.Namespace, pipeline: Any, prompts: list[str],
                    schedules: list[ScaleSchedule]) -> None:
    """Measure, fit, write and tell."""
    from tqdm import tqdm

    from ..analysis import calibrate, fit_shortcuts, fitting_runs, runs_needed, with_used
    from ..bundled import NAME as BUNDLED
    from ..entropy.calibration import shortcuts_beside
    from ..sparsity.shortcuts import register_shortcuts

    seeds = range(arguments.seed, arguments.seed + arguments.num_seeds)
    source = arguments.model or arguments.transformer
    name = Path(source).absolute().name if source else BUNDLED
    shortcuts = None
    # Seeds that calibration does not measure with.
    jobs = [(prompts[i % len(prompts)], seeds.stop + 1000 + i // len(prompts))
            for i in range(arguments.shortcut_pictures)]
    if jobs:
        runs = fitting_runs(pipeline.transformer.shape, len(jobs), schedules)
        with tqdm(total=runs, desc="shortcuts", disable=arguments.json) as bar:
            shortcuts = fit_shortcuts(pipeline, jobs, schedules, batch=arguments.batch,
                                      on_images=bar.update, **sampling_of(arguments))
    if shortcuts:
        register_shortcuts(shortcuts)
    total = runs_needed(len(prompts), len(seeds), schedules,
                        len(shortcuts.lengths) if shortcuts else 0)
    with tqdm(total=total, desc="pictures", disable=arguments.json) as bar:
        found = calibrate(
            pipeline, prompts, seeds, schedules=schedules, target_ssim=arguments.target_ssim,
            ratio_scale=arguments.ratio_scale, batch=arguments.batch, name=name,
            shortcuts=shortcuts,
            provenance={"command": command_line(
                            "analyze", arguments, schedules,
                            ["target_ssim", "ratio_scale", "shortcut_pictures"]),
                        "device": arguments.device,
                        "dtype": str(pipeline.transformer.compute_dtype).removeprefix("torch.")},
            on_images=bar.update, **sampling_of(arguments),
        )
        found, shortcuts = with_used(pipeline.transformer.shape, found, shortcuts)
        bar.total = bar.n  # it was a bound: how many choices there are shows only on the way
        bar.refresh()
    written = [Path(arguments.calibrate).absolute()]
    if found.shortcuts and shortcuts:  # first: a calibration must not name what is not there
        written.append(shortcuts_beside(written[0]))
        shortcuts.save(written[1])
    found.save(arguments.calibrate)
    if arguments.json:
        print(json.dumps(found.to_json()))
    else:
        show_calibration(found)
        print(printable(f"\nwrote {' and '.join(map(str, written))}"))

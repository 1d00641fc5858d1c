"""``toprovar analyze``: the entropies of a model's attention on some prompts, and calibration."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..printable import printable
from .analyze_calibration import add_calibration, calibrate, check_calibration, outputs_of
from .analyze_tables import show_analysis
from .early import check_folder, check_model, check_source
from .measuring import (
    add_measuring,
    check_measuring,
    given_prompts,
    sampling_of,
    schedules_of,
    tell_notes,
)
from .model_options import add_device, add_model, load_pipeline
from .outputs import PICTURE, SUMMARY, TRACE, Output, add_overwrite, check_outputs

if TYPE_CHECKING:
    from ..analysis import Analysis
    from ..entropy.calibration import Calibration
    from ..schedules import ScaleSchedule

MAPS = 8
"""Pictures whose maps are drawn."""
NUMBER = re.compile(r"\d{1,3}", re.ASCII)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("prompt", nargs="*", help="what to draw and measure")
    add_model(parser)
    add_measuring(parser, 20, "with --calibrate more than one may be given")
    add("--scales", metavar="LIST", help="scales to measure, such as 4,6-9 (default: all)")
    add("--layers", metavar="LIST", help="layers to measure, such as 0-3,8 (default: all)")
    add("--heads", action="store_true", help="keep the heads apart in the trace")
    add("--calibration", metavar="FILE",
        help="score layers by it (default: the one in the box, if it is of this model)")
    add("--out", metavar="DIR", help="folder for trace.safetensors, summary.json and pictures "
        "(default: nothing is written)")
    add("--json", action="store_true", help="print one JSON object instead of tables")
    add_overwrite(parser)
    add_calibration(parser)
    add_device(parser)


def run(arguments: argparse.Namespace) -> int:
    prompts = given_prompts(arguments)
    scales, layers = (_numbers(name, getattr(arguments, name)) for name in ("scales", "layers"))
    check_measuring(arguments)
    if arguments.calibrate:
        check_calibration(arguments)
    elif len(arguments.pn or []) > 1:
        raise ValueError("several --pn are for --calibrate only")
    out = Path(arguments.out) if arguments.out else None
    check_folder("--out", out)
    check_source("--calibration", arguments.calibration)
    check_outputs(arguments, _outputs(arguments, out))
    check_model(arguments)
    pipeline = load_pipeline(arguments)
    pipeline.set_progress_bar_config(disable=True)  # one bar, that of the pictures
    schedules = schedules_of(arguments, pipeline.config["default_pn"])
    tell_notes(pipeline, prompts)
    if arguments.calibrate:
        calibrate(arguments, pipeline, prompts, schedules)
    else:
        _analyze(arguments, pipeline, prompts, schedules[0], scales, layers, out)
    return 0


def _outputs(arguments: argparse.Namespace, out: Path | None) -> list[Output]:
    """What will be written, and perhaps less."""
    found = outputs_of(arguments) if arguments.calibrate else []
    if out:
        found += [Output("--out", out / "trace.safetensors", TRACE),
                  Output("--out", out / "summary.json", SUMMARY)]
        found += [Output("--out", out / name, PICTURE)
                  for name in ("layers.png", "rho.png", *(f"maps-{i}.png" for i in range(MAPS)))]
    return found


def _analyze(arguments: argparse.Namespace, pipeline: Any, prompts: list[str],
             schedule: ScaleSchedule, scales: list[int] | None, layers: list[int] | None,
             out: Path | None) -> None:
    from tqdm import tqdm

    from ..analysis import analyze
    from ..entropy.calibration import Calibration, find_calibration
    from ..models.fingerprint import model_fingerprint

    fingerprint = model_fingerprint(pipeline.transformer)
    if arguments.calibration:
        calibration = Calibration.load(arguments.calibration)
        if calibration.model != fingerprint:
            raise ValueError(f"{arguments.calibration} is of the model {calibration.model}, this "
                             f"is {fingerprint}: calibrate this one with --calibrate FILE")
    else:
        calibration = find_calibration(fingerprint, pn=schedule.pn)
    seeds = range(arguments.seed, arguments.seed + arguments.num_seeds)
    with tqdm(total=len(prompts) * len(seeds), desc="pictures", disable=arguments.json) as bar:
        found = analyze(
            pipeline, prompts, seeds, schedule=schedule, scales=scales, layers=layers,
            heads=arguments.heads, batch=arguments.batch, calibration=calibration,
            on_images=bar.update, **sampling_of(arguments),
        )
    if arguments.json:
        print(json.dumps(found.to_json()))
    else:
        show_analysis(found)
    if out:
        names = write(found, out, calibration)
        if not arguments.json:
            print(printable(f"\nwrote {', '.join(names)} to {out.absolute()}"))


def write(found: Analysis, out: Path, calibration: Calibration | None = None) -> list[str]:
    """The trace, the summary and the pictures; the names of the files."""
    from ..entropy import pictures
    from ..figures.sheet import png
    from ..files import replace_file
    from ..schedules import find_schedule

    out.mkdir(parents=True, exist_ok=True)
    found.trace.save(out / "trace.safetensors")
    text = json.dumps(found.to_json(), indent=1, ensure_ascii=False) + "\n"
    replace_file(out / "summary.json", text.encode())
    entry = None
    if calibration and found.calibrated:
        entry = calibration.entry(find_schedule(found.trace.about.grids))[0]
    tau = calibration.tau if calibration and calibration.rho_informative else None
    files = {
        "layers.png": pictures.layer_strip(found.trace, found.summary),
        "rho.png": pictures.rho_curve(found.trace, found.summary, tau,
                                      entry.start_scale if entry else None),
    }
    for i, image in enumerate(found.images[:MAPS]):
        files[f"maps-{i}.png"] = pictures.entropy_maps(found.trace, i, picture=image)
    for name, figure in files.items():
        replace_file(out / name, png(figure))
    return ["trace.safetensors", "summary.json", *files]


def _numbers(name: str, text: str | None) -> list[int] | None:
    """"4,6-9" -> [4, 6, 7, 8, 9]."""
    if text is None:
        return None
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not NUMBER.fullmatch(first) or (dash and not NUMBER.fullmatch(last)):
            raise ValueError(f"--{name} must look like 4,6-9, got {text!r}")
        found += range(int(first), int(last if dash else first) + 1)
    if not found:
        raise ValueError(f"--{name} names none: {text!r}")
    return sorted(set(found))

"""A model's calibration from the command line: progress, files, and what is told."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..printable import printable
from .analyze_tables import show_calibration
from .early import check_target
from .measuring import command_line, sampling_of
from .outputs import CALIBRATION, SHORTCUTS, Output

if TYPE_CHECKING:
    from ..analysis import Progress, Result
    from ..schedules import ScaleSchedule


@dataclass(frozen=True)
class Wanted:
    """What a command asks for.

    Attributes:
        out: None = the user's folder of calibrations.
        minutes: None = until all is measured.
        shortcut_pictures: that shortcuts are fitted to at most; 0 = none are fitted.
        most_bytes: of the shortcuts' file; None = by the model's width.
        go_on: from earlier measurements; keep_progress: for later ones.
        command: for the record.
    """

    out: Path | None
    minutes: float | None
    shortcut_pictures: int
    most_bytes: int | None
    go_on: bool
    command: str
    keep_progress: bool


def check_calibration_file(flag: str, path: str) -> None:
    """Refuse a file that a calibration cannot be written to."""
    if Path(path).suffix == ".safetensors":
        raise ValueError(f"{flag} writes JSON, and shortcuts beside it: give FILE.json")
    check_target(flag, path)


def calibration_outputs(flag: str, file: Path, shortcuts: bool) -> list[Output]:
    """What will be written, and perhaps less."""
    found = [Output(flag, file, CALIBRATION)]
    if shortcuts:
        found.append(Output(flag, file.with_suffix(".safetensors"), SHORTCUTS))
    return found


def calibrate_model(arguments: argparse.Namespace, pipeline: Any, prompts: list[str],
                    schedules: list[ScaleSchedule], wanted: Wanted) -> None:
    """Measure, write and tell. Ctrl-C ends it with what was found until then.

    Args:
        prompts: none = those in the box for this model.
    """
    from ..analysis import Calibrator, fitting_jobs
    from ..analysis.calibration_files import load_progress, result_file, save_progress, save_result
    from ..analysis.findings import Findings, jobs_hash
    from ..bundled import NAME as BUNDLED
    from ..models.fingerprint import model_fingerprint
    from ..prompts import bundled_prompts

    fingerprint = model_fingerprint(pipeline.transformer)
    prompts = prompts or list(bundled_prompts(fingerprint))
    seeds = range(arguments.seed, arguments.seed + arguments.num_seeds)
    jobs = [(p, s) for s in seeds for p in prompts]
    source = arguments.model or arguments.transformer
    name = Path(source).absolute().name if source else BUNDLED
    out = (wanted.out or result_file(name, fingerprint, schedules)).absolute()
    how = sampling_of(arguments)
    fresh = Findings.begin(fingerprint, jobs_hash(jobs, how["guidance_scale"], how["tau"]),
                           schedules)
    begun, shortcuts = load_progress(fresh) if wanted.go_on else (None, None)

    def keep(result: Result) -> None:
        if result.calibration is not None:
            save_result(result, out)
        if wanted.keep_progress:
            save_progress(result)

    with _bar(arguments.json) as told:
        calibrator = Calibrator(
            pipeline, jobs, fitting_jobs(prompts, seeds, wanted.shortcut_pictures), schedules,
            minutes=wanted.minutes, target_ssim=arguments.target_ssim, name=name,
            ratio_scale=getattr(arguments, "ratio_scale", "log"), begun=begun,
            shortcuts=shortcuts, most_bytes=wanted.most_bytes, on_progress=told, on_result=keep,
            provenance={"command": command_line(wanted.command, arguments, schedules,
                                                ["target_ssim"]),
                        "device": arguments.device,
                        "dtype": str(pipeline.transformer.compute_dtype).removeprefix("torch.")},
            **how)
        try:
            found = calibrator.run()
        except KeyboardInterrupt:
            keep(calibrator.result())
            raise
    assert found.calibration is not None
    written = save_result(found, out)
    _tell(arguments, pipeline, found, written)


def _tell(arguments: argparse.Namespace, pipeline: Any, found: Result, written: list[Path]
          ) -> None:
    from ..analysis.calibration_picture import found_in_words

    calibration = found.calibration
    assert calibration is not None
    if arguments.json:
        print(json.dumps(calibration.to_json()))
        return
    show_calibration(calibration)
    print(printable("\n" + found_in_words(calibration, pipeline.transformer.shape)))
    about = found.findings
    print(f"{about.pictures} pictures in {about.seconds / 60:.1f} minutes")
    print(printable(f"\nwrote {' and '.join(map(str, written))}"))


@contextmanager
def _bar(quiet: bool) -> Iterator[Any]:
    """A progress bar of the whole, with what is being done."""
    from tqdm import tqdm

    bar = tqdm(total=1000, disable=quiet, bar_format="{desc}{percentage:3.0f}%|{bar}|{postfix}")

    def told(progress: Progress) -> None:
        bar.set_description(progress.words, refresh=False)
        left = "" if progress.left is None else f", {_clock(progress.left)} left"
        bar.set_postfix_str(f"{progress.pictures} pictures, {_clock(progress.seconds)}{left}",
                            refresh=False)
        bar.update(round(progress.share * 1000) - bar.n)

    with bar:
        yield told


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"

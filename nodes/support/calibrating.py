"""A calibration for a node: what is measured, what is told meanwhile, and where it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .files import calibration_folder
from .host import InterruptedRun, Progress, manager, say, stop_if_interrupted
from .infinity import Infinity, Prompts, TextEncoder

if TYPE_CHECKING:
    from ...toprovar.analysis.drawing import Job
    from ...toprovar.analysis.findings import Findings
    from ...toprovar.analysis.progress import Progress as Told
    from ...toprovar.analysis.progress import Result
    from ...toprovar.entropy.calibration import Calibration
    from ...toprovar.models.text import PackedText
    from ...toprovar.schedules import ScaleSchedule

BUNDLED = 48
"""Prompts in the box that are measured: all are encoded before the transformer gets the memory."""
ENCODED = 8
"""Of these, at once."""
FEW_PROMPTS, FEWEST_JOBS = 8, 16
"""Fewer prompts are drawn from several seeds, until there are this many pictures."""
FIT_PICTURES = 400
"""That shortcuts are fitted to at most; the time ends it before."""
STEPS = 1000
"""Of the progress bar."""
MOST_RETRIES = 4
"""With less memory each."""
LEAST_SECONDS = 1.0
"""With less time left, nothing more is measured."""


@dataclass(frozen=True)
class Calibrated:
    """What a calibration has come to.

    Attributes:
        found: of the model; text: the same for the reader, and where it is kept.
    """

    found: Calibration
    text: str


def calibrate(model: Infinity, text_encoder: TextEncoder | None, own: Prompts | None,
              schedule: ScaleSchedule, *, minutes: float, target: float, seed: int, resume: bool
              ) -> Calibrated:
    """Measure until the model has been measured for so many minutes in all, and keep what was
    found; the engine finds it there. Where memory runs out, it goes on with less.

    Args:
        own: the user's prompts; None = those in the box, which ``text_encoder`` encodes.
        target: SSIM to the dense picture that counts as unharmed.
        resume: count earlier measurements of the same model, prompts, seed and size in, and go on
            from them; otherwise they are forgotten.

    Raises:
        ValueError: there are no prompts, or there was not time enough for a calibration.
        torch.OutOfMemoryError: nothing is left that would take less.
    """
    if own is None and text_encoder is None:
        raise ValueError("there is nothing to draw: connect text_encoder (from Load Infinity) for "
                         "the prompts in the box, or conditioning for prompts of your own")
    residing = model.residing
    for _ in range(MOST_RETRIES):
        try:
            return _calibrated(model, text_encoder, own, schedule, minutes, target, seed, resume)
        except manager.OOM_EXCEPTION as error:
            if residing.plan is None or not residing.plan.fits:
                raise
            failed = str(error)
        residing.ran_out("scales", failed)  # only here is what was tried gone
        resume = True
    raise torch.OutOfMemoryError(f"memory ran out {MOST_RETRIES} times during this calibration. "
                                 "What was measured is kept. What helps: a smaller size")


def _calibrated(model: Infinity, text_encoder: TextEncoder | None, own: Prompts | None,
                schedule: ScaleSchedule, minutes: float, target: float, seed: int, resume: bool
                ) -> Calibrated:
    from ...toprovar.analysis.calibrate import Calibrator, fitting_jobs
    from ...toprovar.analysis.calibration_files import (
        forget_progress,
        load_progress,
        result_file,
        save_progress,
        save_result,
    )
    from ...toprovar.analysis.findings import Findings, jobs_hash
    from ...toprovar.analysis.shortcut_fit import MOST_BYTES
    from ...toprovar.models.fingerprint import model_fingerprint
    from ...toprovar.prompts import bundled_prompts

    pipeline = model.pipeline
    fingerprint = model_fingerprint(pipeline.transformer)
    place = result_file(model.name, fingerprint, [schedule], calibration_folder())
    texts = own.texts if own is not None else bundled_prompts(fingerprint)[:BUNDLED]
    jobs, seeds = _jobs(texts, seed)
    wanted = Findings.begin(fingerprint, jobs_hash(jobs, None, None), [schedule])
    if not resume:
        forget_progress(wanted)
    begun, shortcuts = load_progress(wanted)
    left = minutes * 60 - (begun.seconds if begun else 0.0)
    bar = Progress(STEPS)
    features: dict[str, PackedText] = {}
    files: list[Path] = []

    def told(progress: Told) -> None:
        say(_words(progress))
        bar.at(round(progress.share * STEPS))

    before = _most_pictures(_read(place), schedule)

    def keep(result: Result, asked: bool = False) -> None:
        """Unless it was asked for, a beginning does not take the place of a longer calibration."""
        save_progress(result)
        found = result.calibration
        if found is not None and (asked or _most_pictures(found, schedule) >= before):
            files[:] = save_result(result, place)
            pipeline.automatic.clear()  # made by what was known before

    measures = left >= LEAST_SECONDS
    placed = None
    if measures:
        features |= _encoded(text_encoder, own, texts)
        placed = model.place(schedule, 1, model.guided(0), pictures=True, runs_again=True,
                             beside=MOST_BYTES)
    calibrator = Calibrator(
        pipeline, jobs, fitting_jobs(texts, seeds, FIT_PICTURES), [schedule], name=model.name,
        minutes=max(left, LEAST_SECONDS) / 60, target_ssim=target, begun=begun,
        shortcuts=shortcuts, options=placed.options if placed else model.options,
        tile=placed.tile if placed else None, encode=features.__getitem__,
        check=stop_if_interrupted, on_progress=told, on_result=keep)
    if measures:
        try:
            result = calibrator.run()
        except (InterruptedRun, manager.OOM_EXCEPTION):
            keep(calibrator.result())
            raise
    else:  # perhaps the target is another
        result = calibrator.result()
    keep(result, asked=True)
    if result.calibration is None:
        raise ValueError(f"{minutes:g} minutes were too short for a calibration: set minutes "
                         "higher and run again. The measurement continues from here")
    say(_summary(result.findings))
    return Calibrated(result.calibration, _text(model, schedule, result, files))


def _jobs(texts: Sequence[str], seed: int) -> tuple[list[Job], range]:
    """What is measured, and the seeds in it."""
    texts = list(dict.fromkeys(texts))
    count = -(-FEWEST_JOBS // len(texts)) if len(texts) < FEW_PROMPTS else 1
    seeds = range(seed, seed + count)
    return [(t, s) for s in seeds for t in texts], seeds


def _read(place: Path) -> Calibration | None:
    """What was kept there before, None if there is nothing of use."""
    from ...toprovar.entropy.calibration import Calibration

    try:
        return Calibration.load(place) if place.is_file() else None
    except ValueError:
        return None


def _most_pictures(found: Calibration | None, schedule: ScaleSchedule) -> int:
    """On how many pictures choices were measured at a size."""
    entry = found.entries.get(schedule.pn) if found is not None else None
    return max((c.pictures or 0 for c in entry.choices), default=0) if entry else 0


def _encoded(text_encoder: TextEncoder | None, own: Prompts | None, texts: Sequence[str]
             ) -> dict[str, PackedText]:
    """Features by prompt, on the CPU. All at once: the encoder makes room for the transformer."""
    from ...toprovar.models.text import PackedText

    found = [] if own is None else [own]
    if own is None:
        assert text_encoder is not None
        for first in range(0, len(texts), ENCODED):
            say(f"encoding prompts: {first} of {len(texts)}")
            stop_if_interrupted()
            found.append(text_encoder.encode(list(texts[first : first + ENCODED])))
    return {text: PackedText(row, (len(row),))
            for part in found for text, row in zip(part.texts, part.features.rows(), strict=True)}


def _words(progress: Told) -> str:
    left = "" if not progress.left else f", {_clock(progress.left)} left"
    return f"{progress.words}: {progress.pictures} pictures{left}"


def _summary(findings: Findings) -> str:
    return f"calibrated on {findings.pictures} pictures, drawn in {_clock(findings.seconds)} min"


def _text(model: Infinity, schedule: ScaleSchedule, result: Result, files: Sequence[Path]
          ) -> str:
    from ...toprovar.analysis.calibration_picture import found_in_words
    from ...toprovar.printable import safe_lines

    assert result.calibration is not None
    height, width = schedule.image_size
    return safe_lines([
        f"{model.name}, {width} x {height} pixels", _summary(result.findings),
        *found_in_words(result.calibration, model.pipeline.transformer.shape).splitlines(),
        f"kept in {files[0]}", *(f"shortcuts in {file}" for file in files[1:]),
    ])


def _clock(seconds: float) -> str:
    """Minutes and seconds."""
    whole = round(seconds)
    return f"{whole // 60}:{whole % 60:02d}"

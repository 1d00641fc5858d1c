"""What a calibration of some minutes is worth, and what it takes.

    python -m benchmarks.calibration embedded --out out/calibration.json
    python -m benchmarks.calibration 2b --minutes 5 --out out/calibration-2b.json

``embedded``: the embedded model is calibrated anew for so many minutes each, on its own prompts,
and plans for budgets by these calibrations are held against plans by the one in the box: likeness
to the dense picture and compositional score on prompts and seeds that no calibration has seen.

``2b``, ``8b``, ``tiny``: random weights in the real shapes, which say nothing about quality. Peak
memory against a dense run's, pictures, files, scales that were replayed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from benchmarks.gpu.models import WORDS, build
from benchmarks.gpu.results import rounded
from benchmarks.machine import describe, synchronise
from benchmarks.quality import draw, jobs, load
from benchmarks.quality_plans import Entry
from toprovar.analysis import Calibrator, Progress, Result, fitting_jobs
from toprovar.analysis.calibration_files import save_result
from toprovar.analysis.intervals import half_width, paired
from toprovar.devices import choose_device
from toprovar.entropy.calibration import Calibration, find_calibration
from toprovar.evaluation.compositional import Judge
from toprovar.evaluation.metrics import likeness
from toprovar.files import replace_file
from toprovar.models.fingerprint import model_fingerprint
from toprovar.pipeline import InfinityPipeline
from toprovar.prompts import bundled_prompts
from toprovar.sampling.workspace import release
from toprovar.schedules import get_schedule
from toprovar.sparsity.cost import Target, count
from toprovar.sparsity.strategies.toprovar.before import toprovar_plan
from toprovar.sparsity.strategies.toprovar.settings import ToProVarSettings

BUDGETS = (0.5, 0.33, 0.28)
BATCH = 24
FIRST_SEED = 7000
"""Of calibrations: those that pictures are judged by are from 1000 on."""


def embedded(arguments: argparse.Namespace) -> dict[str, Any]:
    """Quality after some minutes, on this machine."""
    device = choose_device(arguments.device)
    pipeline, judge = load(device), Judge.load(device=device)
    schedule = get_schedule("1.0", arguments.pn)
    prompts = list(bundled_prompts(model_fingerprint(pipeline.transformer)))
    calibrations: dict[str, Calibration] = {}
    shipped = find_calibration(model_fingerprint(pipeline.transformer))
    assert shipped is not None
    calibrations["in the box"] = shipped
    spent: dict[str, Any] = {}
    for minutes in arguments.minutes:
        found = _calibrator(pipeline, prompts, arguments.pn, minutes).run()
        assert found.calibration is not None
        name = f"{minutes:g} minutes"
        calibrations[name], spent[name] = found.calibration, _spent(found)
        print(name, spent[name], flush=True)
    todo = jobs(-(-arguments.pictures // 6), 1)[: arguments.pictures]
    rows: dict[str, dict[str, list[float]]] = {}
    plans = {(name, budget): toprovar_plan(
        pipeline.transformer.shape, schedule, ToProVarSettings(), calibration, Target(budget))
        for name, calibration in calibrations.items() for budget in BUDGETS}
    for first in range(0, len(todo), BATCH):
        part = todo[first : first + BATCH]
        _, dense, _, _ = draw(pipeline, arguments.pn, part, Entry("dense", None, None))
        for key, plan in [(("dense", 1.0), None), *plans.items()]:
            pictures = dense if plan is None else draw(
                pipeline, arguments.pn, part, Entry(key[0], key[1], plan))[1]
            row = rows.setdefault(f"{key[0]} @ {key[1]:g}", {"passed": [], "likeness": []})
            row["passed"] += [float(r.verdict.passed)
                              for r in judge.results(pictures, [p for p, _ in part])]
            row["likeness"] += likeness(pictures, dense).tolist()
        print(f"{first + len(part)} of {len(todo)} pictures judged", flush=True)
    table = {}
    for (name, budget), plan in plans.items():
        own, box = rows[f"{name} @ {budget:g}"], rows[f"in the box @ {budget:g}"]
        score, score_half = paired(own["passed"], box["passed"])
        alike, alike_half = paired(own["likeness"], box["likeness"])
        table[f"{name} @ {budget:g}"] = {
            "score": 100 * fmean(own["passed"]), "likeness": fmean(own["likeness"]),
            "likeness_half_width": half_width(own["likeness"]),
            "score_against_box": 100 * score, "score_against_box_half_width": 100 * score_half,
            "likeness_against_box": alike, "likeness_against_box_half_width": alike_half,
            "flops": count(plan, pipeline.transformer.shape).flop_share,
            "expected_likeness": plan.parameters.get("expected_likeness"),
        }
    return {"pn": arguments.pn, "pictures": len(todo), "dense_score": 100 * fmean(
        rows["dense @ 1"]["passed"]), "calibrations": spent, "rows": table,
        "machine": describe(device)}


def random_weights(arguments: argparse.Namespace) -> dict[str, Any]:
    """What calibrating a real size takes on a device."""
    device = choose_device(arguments.device)
    subject = build(arguments.model, device,
                    torch.bfloat16 if device.type == "cuda" else torch.float32)
    pipeline, pn = subject.pipeline, subject.schedule.pn
    for seed in range(3):
        synchronise(device)
        _reset_peak(device)
        began = time.perf_counter()
        pipeline(subject.prompts()[0], seed=seed, schedule=subject.schedule)
        synchronise(device)
        dense = {"seconds": time.perf_counter() - began, "peak_gib": _peak(device)}
    release(pipeline.transformer)
    prompts = [" ".join(WORDS[(11 * n + 3 * j) % len(WORDS)] for j in range(20 + 3 * (n % 8)))
               for n in range(64)]
    _reset_peak(device)
    minutes = arguments.minutes[0]
    log: list[dict[str, Any]] = []

    def told(progress: Progress) -> None:
        if not log or log[-1]["part"] != progress.part:
            log.append({"part": progress.part, "from_seconds": progress.seconds,
                        "pictures": progress.pictures, "peak_gib": _peak(device)})
            print(log[-1], flush=True)

    # Random weights would say anything of the ways: the one that the whole calibration is for.
    calibrator = _calibrator(pipeline, prompts, pn, minutes, dropped="exit", on_progress=told,
                             tile=arguments.tile)
    found = calibrator.run()
    folder = Path(arguments.out).parent
    files = save_result(found, folder / f"calibration-{arguments.model}-files.json")
    shortcuts = found.all_shortcuts
    return {
        "model": arguments.model, "pn": pn, "dense": dense, "calibration": _spent(found),
        "parts": log, "peak_gib": _peak(device),
        "peak_over_dense_gib": _peak(device) - dense["peak_gib"],
        "file_mb": {path.suffix: path.stat().st_size / 1e6 for path in files},
        "maps_fitted": 0 if shortcuts is None else len(shortcuts.maps),
        "maps_kept": 0 if found.shortcuts is None else len(found.shortcuts.maps),
        "pictures_fitted_to": None if shortcuts is None else shortcuts.about["pictures"],
        "machine": describe(device),
    }


def _calibrator(pipeline: InfinityPipeline, prompts: list[str], pn: str, minutes: float,
                **how: Any) -> Calibrator:
    return Calibrator(
        pipeline, [(p, FIRST_SEED) for p in prompts], fitting_jobs(prompts, [FIRST_SEED], 400),
        [get_schedule("1.0", pn)], minutes=minutes, target_ssim=0.95, name="benchmark", **how)


def _spent(found: Result) -> dict[str, Any]:
    """Pictures and runs of a calibration, in dense runs, and what it knows of its choices."""
    assert found.calibration is not None
    work, entry = found.work, found.calibration.main
    tokens = sum(h * w for h, w in entry.grids)
    return {
        "minutes": found.findings.seconds / 60, "pictures": work.pictures,
        "dense_runs": work.run / tokens, "dense_runs_without_sharing": work.alone / tokens,
        "replayed_share": work.replayed / max(work.scales, 1),
        "choices": len(entry.choices),
        "pictures_a_choice": max((c.pictures or 0 for c in entry.choices), default=0),
        "half_width": max((c.half_width or 0.0 for c in entry.choices), default=0.0),
        "settled": next(iter(found.findings.schedules.values())).settled,
        "selection": entry.selection and entry.selection.model_dump(),
        "explained": found.all_shortcuts.about["explained"] if found.all_shortcuts else None,
    }


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("model", choices=["embedded", "2b", "8b", "tiny"])
    add("--out", type=Path, required=True)
    add("--minutes", type=lambda text: tuple(map(float, text.split(","))),
        default=(0.5, 1, 2, 3, 5))
    add("--pn", default="0.06M", help="of the embedded model")
    add("--pictures", type=int, default=240, help="that are judged")
    add("--tile", type=int, help="decode in tiles of so many latent pixels")
    add("--device", default="auto")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    found = embedded(arguments) if arguments.model == "embedded" else random_weights(arguments)
    words = [word for i, word in enumerate(sys.argv[1:])
             if word != "--out" and sys.argv[i] != "--out"]  # paths are this machine's own
    found["command"] = "python -m benchmarks.calibration " + " ".join(words)
    replace_file(arguments.out, (json.dumps(rounded(found), indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

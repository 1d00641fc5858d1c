"""Quality of all methods at several budgets: compositional score, likeness to dense, cost and time.

    python -m benchmarks.quality --folder out/quality [--pn 0.06M,0.25M] [--processes 4]
    python -m benchmarks.quality --folder out/quality --only-report

Prompt i of a task is drawn with seed 1000 + i, with 2000 + i, and so on for ``--seeds``; every
method draws the same pictures. Work is cut into parts of ``--batch`` pictures, each written when
done: what was interrupted goes on where it stopped, rows that are new are added, and processes
share the parts. (After a change of the calibration use a new folder.) Methods that plan every
picture by itself draw one at a time, so only the first ``--alone`` parts.

``--atlas`` adds the detail task and sets of fresh scenes for the same prompts, from which Fréchet
distance, precision and recall are taken; ``--second`` takes them in a second network's features as
well. docs/research/quality.md says what the figures mean. Features lie beside the parts, in
``.npz`` files.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.machine import describe
from benchmarks.quality_measures import REAL, Measures, read_features, write_features
from benchmarks.quality_plans import BUDGETS, Entry, entries
from benchmarks.quality_report import check_parts, report
from benchmarks.quality_times import measure_times
from benchmarks.quality_transfer import uncalibrated
from toprovar.bundled import bundled_model
from toprovar.devices import DTYPE_ALIASES, DTYPES, choose_device
from toprovar.evaluation.compositional import TASKS, PromptSpec, bundled_prompts
from toprovar.evaluation.metrics import equal_bits, latent_distance, psnr, sharpness, ssim
from toprovar.files import replace_file
from toprovar.pipeline import InfinityPipeline
from toprovar.sampling.params import EngineOptions
from toprovar.sampling.run import ScaleState
from toprovar.schedules import get_schedule, pixel_budgets
from toprovar.sparsity.cost import count
from toprovar.sparsity.plan import PredictedCost


def jobs(per_task: int, seeds: int) -> list[tuple[PromptSpec, int]]:
    """Every picture's prompt and seed; neighbours are of different tasks."""
    by_task = [bundled_prompts("seen", task)[:per_task] for task in TASKS]
    return [(prompts[i], 1000 * (1 + s) + i) for s in range(seeds) for i in range(per_task)
            for prompts in by_task if i < len(prompts)]


def dtype_of(name: str) -> torch.dtype:
    """A dtype by its name or alias."""
    known: dict[str, str | None] = {**{n: n for n in DTYPES}, **DTYPE_ALIASES}
    full = known.get(name)
    if full is None:
        raise ValueError(f"unknown dtype {name!r}; expected one of {', '.join(DTYPES)}")
    return DTYPES[full]


def load(device: torch.device, folder: str | Path | None = None,
         dtype: torch.dtype = torch.float32) -> InfinityPipeline:
    """A model's pipeline; None = the embedded one."""
    pipeline = InfinityPipeline.from_folder(folder or bundled_model(), dtype)
    pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(pipeline: InfinityPipeline, pn: str, part: list[tuple[PromptSpec, int]], entry: Entry
         ) -> tuple[Tensor, Tensor, dict[int, Tensor], list[PredictedCost]]:
    """Codes [B, d, h, w], pictures [B, 3, H, W], bits by scale, what the plans used cost."""
    bits: dict[int, list[Tensor]] = {}

    def take(state: ScaleState) -> None:
        bits.setdefault(state.index, []).append(state.bits.clone())

    done = pipeline([p.text for p, _ in part], seed=[s for _, s in part], plan=entry.plan,
                    schedule=get_schedule("1.0", pn), output_type="latent", on_scale=take,
                    options=EngineOptions(graphs=False))  # recordings of so many plans fill a GPU
    codes = done.images
    with torch.inference_mode():
        few = max(1, 32 * 512**2 // (codes.shape[-1] * 16) ** 2)
        pictures = torch.cat([pipeline.vae.decode(c).float() for c in codes.split(few)])
    costs = [count(r.used_plan, pipeline.transformer.shape) for r in done.reports
             if r.used_plan is not None]
    return (codes, ((pictures + 1) / 2).clamp(0, 1).clone(),
            {s: torch.cat(own) for s, own in bits.items()} if len(done.reports) == 1 else {},
            costs)


def measured(
    pipeline: InfinityPipeline, measures: Measures, pn: str, part: list[tuple[PromptSpec, int]],
    rows: list[Entry],
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, np.ndarray]]]:
    """Every row's figures for one part, for each picture and shares of the dense work; features."""
    prompts = [p for p, _ in part]
    dense_codes, dense, dense_bits, _ = draw(pipeline, pn, part, Entry("dense", None, None))
    figures, spaces = measures.of(dense, prompts)
    found, features = {"dense": figures}, {"dense": spaces}
    for entry in rows:
        codes, pictures, bits, costs = draw(pipeline, pn, part, entry)
        figures, features[entry.key] = measures.of(pictures, prompts, dense)
        found[entry.key] = figures | {
            "flops": fmean(c.flop_share for c in costs),
            "token_layers": fmean(c.token_layer_share for c in costs),
            "ssim": _listed(ssim(pictures, dense)), "psnr": _listed(psnr(pictures, dense)),
            "latent": _listed(latent_distance(codes, dense_codes)),
            "sharpness": _listed(sharpness(pictures, dense)),
            **({"bits": _listed(equal_bits(list(bits.values()), [dense_bits[s] for s in bits]))}
               if bits else {}),
        }
    return found, features


def _listed(values: Tensor) -> list[float]:
    return [round(v, 4) for v in values.tolist()]  # one wait for the device


def work(number: int, arguments: argparse.Namespace) -> None:
    """One process: every part that is not done and not another's."""
    until = time.time() + arguments.minutes * 60
    device = choose_device(arguments.device)
    torch.set_num_threads(max(1, arguments.threads))
    pipeline = load(device, arguments.model, dtype_of(arguments.dtype))
    measures = Measures.load(device, arguments.atlas, arguments.second)
    todo = jobs(arguments.per_task, arguments.seeds)
    rows = {pn: rows_of(arguments, pipeline, pn) for pn in arguments.pn}
    starts = range(0, len(todo), arguments.batch)
    turns = [(i, pn) for i in range(len(starts)) for pn in arguments.pn]
    for i, pn in turns[number :: arguments.processes]:
        path = arguments.folder / f"part-{pn}-{i:04}.json"
        part = todo[starts[i] : starts[i] + arguments.batch]
        done: dict[str, Any] = {}
        if path.exists():
            before = json.loads(path.read_text())
            if before["tasks"] != [p.task for p, _ in part]:
                raise ValueError(f"{path} holds other pictures: keep --batch, --per-task and "
                                 "--seeds as they were, or use a new folder")
            done = before["rows"]
        use = [e for e in rows[pn] if e.key not in done
               and (not e.adaptive or i < arguments.alone)]
        if not use or time.time() > until:
            continue
        figures, features = measured(pipeline, measures, pn, part, use)
        beside = path.with_suffix(".npz")
        before = read_features(beside)
        if not before.keys() >= {*REAL}:
            before |= measures.real([p for p, _ in part], i, get_schedule("1.0", pn).image_size[0])
        # Features first: a part counts as done by its figures.
        write_features(beside, before | features)
        result = {"tasks": [p.task for p, _ in part], "batch": arguments.batch,
                  "rows": done | figures}
        replace_file(path, json.dumps(result).encode())


def rows_of(arguments: argparse.Namespace, pipeline: InfinityPipeline, pn: str) -> list[Entry]:
    schedule = get_schedule("1.0", pn)
    if arguments.uncalibrated or arguments.model:
        found = uncalibrated(pipeline, schedule)
    else:
        found = entries(pipeline, schedule, arguments.budgets)
    chosen = [e for e in found if not arguments.rows or e.name.startswith(arguments.rows)]
    if not chosen:
        raise ValueError(f"--rows {','.join(arguments.rows)}: no row of {pn} begins so; there is "
                         f"{'; '.join(dict.fromkeys(e.name for e in found))}")
    return chosen


def arguments_of(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--folder", type=Path, required=True, help="parts, and the results made of them")
    add("--pn", type=lambda text: tuple(text.split(",")), default=("0.06M", "0.25M"))
    add("--model", type=Path, metavar="DIR", help="another model than the embedded one; rows are "
        "those of --uncalibrated then")
    add("--uncalibrated", action="store_true", help="what is done without a calibration, which is "
        "not looked at even if there is one")
    add("--budgets", type=lambda text: tuple(map(float, text.split(","))), default=BUDGETS)
    add("--rows", type=lambda text: tuple(text.split(",")), default=(), metavar="LIST",
        help="only rows whose names begin so")
    add("--per-task", type=int, default=80)
    add("--seeds", type=int, default=3)
    add("--batch", type=int, default=48)
    add("--atlas", type=Path, help="the sprites, as training.data.atlas writes them")
    add("--second", type=Path, help="a second network, as training.train_second writes it")
    add("--dtype", default="float32", help="of the model (float32)")
    add("--alone", type=int, default=2, help="parts that methods which plan inside the run draw")
    add("--processes", type=int, default=1)
    add("--threads", type=int, default=2, help="of each process")
    add("--minutes", type=float, default=1e6, help="begin no part after so many")
    add("--device", default="auto")
    add("--times", action="store_true", help="measure times, too (after all parts); with "
        "--minutes 0 nothing else, so that it can be done on another machine")
    add("--rounds", type=int, default=5, help="pairs that times are measured by")
    add("--only-report", action="store_true")
    add("--docs", type=Path,
        help="write the tables into research/quality.md of this folder, and the plot into images/")
    given = parser.parse_args(argv)
    if unknown := sorted({*given.pn} - {*pixel_budgets()}):
        parser.error(f"--pn: unknown pixel budget {', '.join(unknown)}: expected some of "
                     f"{', '.join(pixel_budgets())}")
    if given.only_report:
        check_parts(given.folder, given.pn)
    else:
        given.folder.mkdir(parents=True, exist_ok=True)
    return given


def main() -> int:
    try:
        return run(arguments_of(sys.argv[1:]))
    except ValueError as error:
        sys.stderr.write(f"benchmarks.quality: {error}\n")
        return 2


def run(arguments: argparse.Namespace) -> int:
    if not arguments.only_report:
        if arguments.processes == 1:
            work(0, arguments)
        else:
            with multiprocessing.get_context("spawn").Pool(arguments.processes) as pool:
                pool.starmap(work, [(i, arguments) for i in range(arguments.processes)], 1)
        device, path = choose_device(arguments.device), arguments.folder / "about.json"
        about = json.loads(path.read_text()) if path.exists() else {}
        if arguments.minutes > 0 or not about:
            about |= {"command": "python -m benchmarks.quality " + " ".join(sys.argv[1:]),
                      "machine": describe(device)}
        if arguments.times:
            pipeline = load(device, arguments.model)
            about["times_machine"] = describe(device)
            about["times"] = {
                pn: measure_times(pipeline, pn, rows_of(arguments, pipeline, pn),
                                  arguments.rounds)
                for pn in arguments.pn
            }
        replace_file(path, json.dumps(about, indent=1).encode())
    report(arguments.folder, arguments.pn, arguments.docs)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Many pictures: ``toprovar batch`` against a loop, against the bare device, and at length.

  python -m benchmarks.batch --out batch.json                         # the embedded model, CPU
  python -m benchmarks.batch --model 2b --sections process,devices --out batch-gpu.json

Sections:
  commands  whole commands with start and load: ``generate`` again and again, ``batch``, ``batch
            --batch auto``
  process   one process, model loaded: a loop of calls that saves each picture, ``Batch.run``, and
            the same batches drawn and decoded but not written ("bare")
  devices   one command, then as many at once as there are GPUs (or two CPU workers of one thread
            each), each with its share of the rows
  ray       the same two workers through ``--ray``, if Ray is installed
  memory    resident memory of a long run

Seconds of ways that are compared are taken one right after the other, in turns, and the median is
told. Names of released models mean random weights of their shape.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.batch_processes import beside, lines, one, watched
from benchmarks.gpu.models import build
from benchmarks.gpu.results import Results
from benchmarks.machine import describe, synchronise
from toprovar.batch import Batch, ModelSource, Row, Settings
from toprovar.batch.jobs import AUTO, Job, make_jobs
from toprovar.devices import choose_device, choose_dtype
from toprovar.evaluation.compositional.prompts import bundled_prompts
from toprovar.picture_files import save_picture
from toprovar.schedules import get_schedule

SECTIONS = ("commands", "process", "devices", "ray", "memory")
EMBEDDED = "embedded"


@dataclass(frozen=True)
class Given:
    """What is measured.

    Attributes:
        model: "embedded", or a variant's name for random weights; folder: of a saved model, None =
            the embedded one.
        plan: a strategy's name, None = dense; pn: pixel budget.
        rows: pictures of a timed run; rounds: of each way; long: pictures of the memory run.
    """

    model: str
    folder: Path | None
    device: torch.device
    plan: str | None
    pn: str
    rows: int
    rounds: int
    long: int
    work: Path

    @property
    def side(self) -> int:
        grid = get_schedule("1.0", self.pn).grids[-1]
        return 16 * grid[0]

    def source(self) -> ModelSource:
        return ModelSource(None if self.folder is None else str(self.folder),
                           device=self.device.type)

    def write_rows(self, count: int, first: int = 0) -> Path:
        """A file of prompts that no other run had: features of prompts are not kept between
        processes, but the pictures should not be the same either."""
        path = self.work / f"rows-{first}-{count}.csv"
        path.write_text("prompt,seed\n" + "".join(
            f'"{prompt}",{first + i}\n' for i, prompt in enumerate(prompts(count, first))), "utf-8")
        return path

    def options(self) -> list[str]:
        """Of every command."""
        own = ["--device", self.device.type, "--size", f"{self.side}x{self.side}"]
        own += [] if self.folder is None else ["--model", str(self.folder)]
        return own + ([] if self.plan is None else ["--plan", self.plan])

    def batch(self, rows: Path, name: str, *more: str) -> list[str]:
        """A command that draws a file's rows into a new folder."""
        out = self.work / name
        shutil.rmtree(out, ignore_errors=True)
        return ["batch", str(rows), "--out", str(out), "--quiet", *self.options(), *more]


def prompts(count: int, first: int = 0) -> list[str]:
    """Of the compositional test, over and over."""
    known = [prompt.text for prompt in bundled_prompts()]
    return [known[(first + i) % len(known)] for i in range(count)]


def in_turns(ways: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way, one of each in every round."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(way())
    return found


def rates(seconds: dict[str, list[float]], pictures: dict[str, int]) -> list[dict[str, Any]]:
    return [{"name": name, "pictures": pictures[name], "seconds": found,
             "pictures_per_second": pictures[name] / median(found)}
            for name, found in seconds.items()]


def commands(given: Given) -> dict[str, Any]:
    """Whole commands, model loading included."""
    rows, few = given.write_rows(given.rows), min(4, given.rows)

    def generate() -> float:
        return sum(one(["generate", prompt, "--seed", str(i), "--out",
                        str(given.work / f"{i}.png"), *given.options()]).seconds
                   for i, prompt in enumerate(prompts(few)))

    ways: dict[str, Callable[[], float]] = {
        "a loop over generate": generate,
        "batch": lambda: one(given.batch(rows, "c")).seconds,
        "batch --batch auto": lambda: one(given.batch(rows, "c", "--batch", "auto")).seconds,
    }
    counted = dict.fromkeys(ways, given.rows) | {"a loop over generate": few}
    found = rates(in_turns(ways, given.rounds), counted)
    found[0]["per"] = "a command each"
    for row in found[1:]:
        row["times_the_loop"] = row["pictures_per_second"] / found[0]["pictures_per_second"]
    return {"rows": found}


def process(given: Given) -> dict[str, Any]:
    """One process with the model loaded."""
    source = given.source()
    pipe = source.load()
    schedule = get_schedule("1.0", given.pn)
    settings = Settings(size=(given.side, given.side), plan=given.plan)
    first = 0

    def rows() -> list[Row]:
        nonlocal first
        first += given.rows
        return [Row(i + 1, prompt, seed=first + i)
                for i, prompt in enumerate(prompts(given.rows, first))]

    def drawn(batch: int) -> tuple[float, int]:
        out = given.work / "p"
        shutil.rmtree(out, ignore_errors=True)
        own = Batch(rows(), out, replace(settings, batch=batch), source)
        began = time.perf_counter()
        own.run(pipeline=pipe)
        passed = time.perf_counter() - began
        return passed, max(line["together"] for line in lines(out / "manifest.jsonl"))

    (job,) = make_jobs([Row(1, "a")], settings)
    assert isinstance(job, Job)
    plan = source.plan(job, pipe, schedule).plan  # made once, as a batch does

    def loop() -> float:
        began = time.perf_counter()
        for i, row in enumerate(rows()):
            done = pipe(row.prompt, seed=row.seed, schedule=schedule, plan=plan)
            save_picture(done.images[0], given.work / f"{i}.png", {})
        return time.perf_counter() - began

    def bare(together: int) -> float:
        asked = rows()
        texts = [pipe.encode_prompt(row.prompt) for row in asked]
        synchronise(given.device)
        began = time.perf_counter()
        for at in range(0, len(asked), together):
            group = slice(at, at + together)
            pipe(prompt_features=type(texts[0]).join(texts[group]), schedule=schedule, plan=plan,
                 seed=[int(row.seed or 0) for row in asked[group]], output_type="pt")
        synchronise(given.device)
        return time.perf_counter() - began

    drawn(AUTO)  # records, compiles, and finds the size
    _, together = drawn(AUTO)
    ways: dict[str, Callable[[], float]] = {
        "a loop of calls": loop, "Batch": lambda: drawn(1)[0],
        f"Batch, {together} together": lambda: drawn(together)[0],
        "bare, alone": lambda: bare(1), f"bare, {together} together": lambda: bare(together),
    }
    for way in ways.values():
        way()
    found = rates(in_turns(ways, given.rounds), dict.fromkeys(ways, given.rows))
    rate = {row["name"]: row["pictures_per_second"] for row in found}
    return {"rows": found, "together": together,
            "of_bare": {name: rate[name] / rate[name.replace("Batch,", "bare,")
                                                if "," in name else "bare, alone"]
                        for name in rate if name.startswith("Batch")}}


def devices(given: Given) -> dict[str, Any]:
    """One command, and one for each GPU at once, or for each of two CPU workers."""
    count = torch.cuda.device_count() if given.device.type == "cuda" else 2
    if count < 2:
        raise ValueError("there is one GPU only")
    each = [{"CUDA_VISIBLE_DEVICES": str(i), "OMP_NUM_THREADS": "1"}
            if given.device.type == "cpu" else {"CUDA_VISIBLE_DEVICES": str(i)}
            for i in range(count)]
    whole = given.write_rows(given.rows * count)
    parts = [given.write_rows(given.rows, i * given.rows) for i in range(count)]
    name = f"{count} commands at once"
    ways: dict[str, Callable[[], float]] = {
        "one command": lambda: one(given.batch(whole, "d")).seconds,
        name: lambda: beside([(given.batch(part, f"d{i}"), environment) for i, (part, environment)
                              in enumerate(zip(parts, each, strict=True))]).seconds,
    }
    found = rates(in_turns(ways, given.rounds), dict.fromkeys(ways, given.rows * count))
    return {"rows": found, "times_one": found[1]["pictures_per_second"]
            / found[0]["pictures_per_second"]}


def ray(given: Given) -> dict[str, Any]:
    """One command of two workers on Ray, beside one without."""
    if importlib.util.find_spec("ray") is None:
        raise ValueError("Ray is not installed")
    rows = given.write_rows(2 * given.rows)
    ways: dict[str, Callable[[], float]] = {
        "one command": lambda: one(given.batch(rows, "r")).seconds,
        "--ray --workers 2": lambda: one(
            given.batch(rows, "r", "--ray", "--workers", "2")).seconds,
        "--ray --workers 2, 2 pictures": lambda: one(given.batch(
            given.write_rows(2), "r", "--ray", "--workers", "2")).seconds,
    }
    pictures = dict.fromkeys(ways, 2 * given.rows) | {"--ray --workers 2, 2 pictures": 2}
    found = rates(in_turns(ways, given.rounds), pictures)
    return {"rows": found}


def memory(given: Given) -> dict[str, Any]:
    """Resident memory of a long run: by tenths, the most that was seen."""
    done = watched(given.batch(given.write_rows(given.long), "m"), given.work / "m/manifest.jsonl")
    most = by_tenths(done.memory, given.long)
    return {"pictures": given.long, "seconds": done.seconds, "peak_bytes_by_tenths": most,
            "growth_bytes": most[-1] - most[1]}


def by_tenths(looks: Sequence[tuple[int, int]], count: int) -> list[int]:
    """The most bytes of each tenth of a run, from (pictures finished, bytes held).

    Raises:
        ValueError: nobody looked in one of them.
    """
    tenths = [[held for pictures, held in looks if i * count < 10 * pictures <= (i + 1) * count]
              for i in range(10)]
    if not all(tenths):
        raise ValueError(f"{count} pictures were drawn too fast for their memory to be seen: take "
                         "more with --long")
    return [max(tenth) for tenth in tenths]


def save_random(name: str, device: torch.device, pn: str, folder: Path) -> Path:
    """Random weights of a released shape, as a model folder."""
    build(name, device, choose_dtype("auto", device), pn).pipeline.save_pretrained(str(folder))
    return folder


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="result, JSON")
    parser.add_argument("--model", default=EMBEDDED, help="embedded, 2b, 8b, 125m or tiny")
    parser.add_argument("--sections", default=",".join(SECTIONS), metavar="LIST")
    parser.add_argument("--plans", default="dense,toprovar", metavar="LIST")
    parser.add_argument("--pn", help="pixel budget (default: 0.06M embedded, else the model's)")
    parser.add_argument("--rows", type=int, default=32, help="pictures of a timed run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--long", type=int, default=2000, help="pictures of the memory run")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args(argv)
    wanted = given.sections.split(",")
    if unknown := set(wanted) - set(SECTIONS):
        parser.error(f"there is no section {', '.join(sorted(unknown))}; there are "
                     f"{', '.join(SECTIONS)}")
    device = choose_device(given.device)
    arguments = " ".join(sys.argv[1:] if argv is None else argv)
    results = Results(given.out, {"command": f"python -m benchmarks.batch {arguments}",
                                  "machine": describe(device), "model": given.model})
    with tempfile.TemporaryDirectory(prefix="toprovar-batch-") as folder:
        work = Path(folder)
        pn = given.pn or ("0.06M" if given.model in (EMBEDDED, "tiny") else "1M")
        saved = None if given.model == EMBEDDED else save_random(given.model, device, pn,
                                                                 work / "model")
        measures = {"commands": commands, "process": process, "devices": devices, "ray": ray,
                    "memory": memory}
        for name in wanted:
            # A long run is one of the faster plan: dense ones hold the same.
            for plan in given.plans.split(",")[-1 if name == "memory" else 0:]:
                what = Given(given.model, saved, device, None if plan == "dense" else plan, pn,
                             given.rows, given.rounds, given.long, work)
                with results.section(f"{name} {plan}") as found:
                    found.update(measures[name](what))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

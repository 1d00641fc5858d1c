"""Drawing a benchmark's pictures: any model, any strategy, resumable, in parallel if wished.

Every file is whole or absent, so a run that was cut off goes on where it stopped. Picture j of
prompt i is drawn from a seed of its own, so methods can be compared picture by picture, and neither
batch nor shard decides what is drawn.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from benchmarks.machine import describe
from benchmarks.scorer.base import (
    Benchmark,
    Item,
    Manifest,
    check_method,
    digest,
    load_manifest,
    manifest_path,
    missing,
    read_json,
    save_manifest,
)
from benchmarks.scorer.source import FixedSource
from toprovar.batch.drawing import Drawer, Undrawn
from toprovar.batch.jobs import Job, Settings
from toprovar.cli.model_options import (
    add_device,
    add_model,
    add_size,
    engine_options,
    find_size,
    load_pipeline,
    names_size,
)
from toprovar.cli.plan_options import (
    add_plan_options,
    build_plan,
    check_options,
    is_guided,
    plan_request,
    saved_plan,
)
from toprovar.files import replace_file

if TYPE_CHECKING:
    from PIL import Image

    from toprovar.pipeline import InfinityPipeline
    from toprovar.schedules import ScaleSchedule
    from toprovar.sparsity.plan import SparsityPlan
    from toprovar.sparsity.planner import Planner


@dataclass
class Costs:
    """What a process spent on pictures, its own and those of the runs it went on with.

    Attributes:
        seconds: wall time of whole calls, from text to picture.
        token_layers, dense_token_layers: work done, and that of a dense run.
    """

    pictures: int = 0
    seconds: float = 0.0
    token_layers: int = 0
    dense_token_layers: int = 0
    notes: list[str] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser, bench: Benchmark) -> None:
    add = parser.add_argument
    add("prompts", type=Path, help="the benchmark's own prompts (see docs/guide/scorers.md)")
    add("out", type=Path, help="folder for pictures and results, of all methods")
    add("--method", metavar="NAME", help="what to call these pictures (default: the plan's name)")
    add("--plan", metavar="PLAN", default="dense",
        help="dense, toprovar, fastvar, skipvar, or a file of 'toprovar plan' (default: dense)")
    add("--images", type=int, default=bench.images, metavar="N",
        help=f"pictures of each prompt (default {bench.images})")
    add("--limit", type=int, metavar="N", help="the first N prompts only, for a trial")
    add("--rewrites", type=Path, metavar="FILE.json",
        help="{prompt: what to draw instead}, such as Infinity's prompt_rewrite_cache.json; the "
             "scorer still gets the prompt")
    add("--seed", type=int, default=0, help="picture j of prompt i: seed + i * images + j")
    add("--cfg", type=float, help="guidance strength; 1 = off")
    add("--tau", type=float, help="temperature")
    add("--top-p", type=float, default=0.97)
    add("--batch", type=int, default=4, metavar="N", help="pictures at once (default 4)")
    add("--shard", metavar="I/N", default="0/1",
        help="every N-th prompt from the I-th on, to share the work between processes")
    add_model(parser)
    add_size(parser)
    add_device(parser)
    add_plan_options(parser)


def run(bench: Benchmark, given: argparse.Namespace) -> int:
    """Draw what is missing; 0 = all of this process's share is there."""
    shard, shards = _shard(given.shard)
    if given.images < 1 or (bench.most is not None and given.images > bench.most):
        raise ValueError(f"--images must be 1 to {bench.most or 'any number'}, got {given.images}")
    if given.batch < 1:
        raise ValueError(f"--batch must be at least 1, got {given.batch}")
    check_options(given, [given.plan])
    saved = saved_plan(given.plan)
    items = _items(bench, given)
    method = check_method(given.method or Path(given.plan).stem)
    for folder in ("images", "methods", "costs", "scores", "staging"):
        (given.out / folder).mkdir(parents=True, exist_ok=True)
    pipeline = load_pipeline(given)
    pipeline.set_progress_bar_config(disable=True)
    schedule = _schedule(given, saved, pipeline)
    if bench.square and schedule.image_size[0] != schedule.image_size[1]:
        raise ValueError(f"{bench.title}'s scorer cuts square pictures apart: choose a square size")
    plan = saved or build_plan(given, pipeline, schedule, given.plan,
                               guided=is_guided(given, pipeline))
    manifest = _agreed(given.out, _manifest(bench, given, method, pipeline, schedule, items))
    lacking = set(missing(bench, given.out, manifest))
    todo = [(i, item) for i, item in enumerate(items)
            if item.name in lacking and i % shards == shard]
    _draw(bench, given, manifest, pipeline, schedule, plan, todo, f"{shard}-{shards}")
    left = len(missing(bench, given.out, manifest))
    folder = given.out.absolute() / "images" / method
    print(f"{folder}: {len(items) - left} of {len(items)} prompts, {manifest.images} pictures each")
    if not left:
        print(f"score them:\n  {bench.how(given.out.absolute(), manifest)}")
        print(f"then: python -m benchmarks.{bench.name} read {given.out}")
    return 0


def _items(bench: Benchmark, given: argparse.Namespace) -> list[Item]:
    items = bench.items(given.prompts)
    if given.limit is not None:
        if given.limit < 1:
            raise ValueError(f"--limit must be at least 1, got {given.limit}")
        items = items[: given.limit]
    if given.rewrites is None:
        return items
    rewrites = read_json(given.rewrites)
    if not isinstance(rewrites, dict):
        raise ValueError(f"{given.rewrites}: expected an object {{prompt: what to draw instead}}")
    lacking = [i.prompt for i in items if not isinstance(rewrites.get(i.prompt), str)]
    if lacking:
        raise ValueError(f"{given.rewrites}: nothing for {len(lacking)} of {len(items)} prompts, "
                         f"the first is {lacking[0]!r}")
    return [Item(i.name, rewrites[i.prompt], i.extra) for i in items]


def _shard(text: str) -> tuple[int, int]:
    parts = text.split("/")
    if len(parts) == 2 and all(p.isdigit() for p in parts) and int(parts[0]) < int(parts[1]):
        return int(parts[0]), int(parts[1])
    raise ValueError(f"--shard must look like 0/4 (to 3/4), got {text!r}")


def _schedule(given: argparse.Namespace, saved: SparsityPlan | None, pipeline: InfinityPipeline
              ) -> ScaleSchedule:
    """The size that was asked for, else the plan's, else the model's."""
    if saved is None or names_size(given):
        schedule = find_size(given, pipeline.config["default_pn"])
    else:
        from toprovar.schedules import find_schedule

        schedule = find_schedule([step.grid for step in saved.scales])
    if saved is not None:
        saved.check_fits(pipeline.transformer.shape, schedule)
    return schedule


def _manifest(bench: Benchmark, given: argparse.Namespace, method: str, pipeline: InfinityPipeline,
              schedule: ScaleSchedule, items: list[Item]) -> Manifest:
    from toprovar.models.fingerprint import model_fingerprint

    height, width = schedule.image_size
    saved = Path(given.plan)
    default = pipeline.config
    return Manifest(
        benchmark=bench.name, method=method,
        model=Path(given.model or given.transformer or "embedded").name,
        fingerprint=model_fingerprint(pipeline.transformer), plan=plan_request(given),
        plan_file=hashlib.sha256(saved.read_bytes()).hexdigest() if saved.is_file() else None,
        size=(width, height), cfg=default["default_cfg"] if given.cfg is None else given.cfg,
        tau=default["default_tau"] if given.tau is None else given.tau, top_p=given.top_p,
        dtype=str(pipeline.transformer.compute_dtype).removeprefix("torch."), seed=given.seed,
        images=given.images, prompts=digest(items), items=tuple(i.name for i in items),
        machine=describe(pipeline.transformer.null_text.device),
    )


def _agreed(out: Path, manifest: Manifest) -> Manifest:
    """The manifest on disk, if it asks for the same pictures; else this one, written down."""
    path = manifest_path(out, manifest.method)
    if not path.exists():
        save_manifest(out, manifest)
        return manifest
    found = load_manifest(path)
    differ = found.differences(manifest)
    if differ:
        told = ", ".join(f"{name} {_brief(getattr(found, name))} (now "
                         f"{_brief(getattr(manifest, name))})" for name in differ[:3])
        raise ValueError(f"{out} has pictures of {manifest.method!r} made otherwise: {told}. "
                         "Choose another --method or folder")
    return found


def _brief(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _draw(bench: Benchmark, given: argparse.Namespace, manifest: Manifest,
          pipeline: InfinityPipeline, schedule: ScaleSchedule, plan: Planner,
          todo: list[tuple[int, Item]], shard: str) -> None:
    file = given.out / "costs" / f"{manifest.method}.{shard}.json"
    costs = Costs(**read_json(file)) if file.exists() else Costs()
    settings = Settings(cfg=manifest.cfg, tau=manifest.tau, top_p=manifest.top_p,
                        word_weights=False, batch=given.batch)
    items = dict(todo)
    jobs = [Job(i, j, f"{i}-{j}", f"{i}-{j}", item.prompt, None,
                manifest.seed + i * manifest.images + j, None, manifest.cfg, None)
            for i, item in todo for j in range(manifest.images)]
    source = FixedSource(size=schedule, chosen=plan, engine=engine_options(given))
    draw = Drawer(pipeline, source, settings)
    started: dict[int, dict[int, Image.Image]] = {}
    with tqdm(total=len(jobs), desc=f"{bench.title}: {manifest.method}", unit="picture") as bar:
        for drawn in draw(jobs):
            if isinstance(drawn, Undrawn):
                raise ValueError(f"{items[drawn.job.row].name}: {drawn.reason}")
            began = time.perf_counter()
            own = started.setdefault(drawn.job.row, {})
            own[drawn.job.picture] = drawn.picture()
            costs.seconds += drawn.seconds + time.perf_counter() - began
            costs.pictures += 1
            report = drawn.report
            costs.token_layers += report.token_layers // report.images
            costs.dense_token_layers += report.dense_token_layers // report.images
            costs.notes += [n for n in report.notes if n not in costs.notes]
            if len(own) == manifest.images:
                pictures = started.pop(drawn.job.row)
                _save(bench, given.out, manifest, items[drawn.job.row],
                      [pictures[j] for j in range(manifest.images)])
            text = json.dumps(asdict(costs), indent=1)
            replace_file(file, (text + "\n").encode(), given.out / "staging")
            bar.update()


def _save(bench: Benchmark, out: Path, manifest: Manifest, item: Item,
          pictures: list[Image.Image]) -> None:
    """An item's files; what says that it is done, the pictures, comes last."""
    folder = out / "images" / manifest.method
    files = [(path, text.encode()) for path, text in item.extra]
    files += zip(bench.paths(item.name, manifest.images), bench.encode(pictures), strict=True)
    for path, content in files:
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, content, out / "staging")

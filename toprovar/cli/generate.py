"""``toprovar generate``: prompt in, PNG out."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import seed_list, whole
from ..files import replace_file
from ..printable import printable, safe_lines
from ..sparsity.strategies.registry import default_strategy, names
from .early import check_model, check_sampling, check_target
from .model_options import (
    add_device,
    add_model,
    add_size,
    engine_options,
    find_size,
    load_pipeline,
    names_size,
    size_told,
)
from .outputs import PICTURE, PLAN, REPORT, Output, add_overwrite, check_outputs
from .plan_options import (
    AUTO,
    add_plan_options,
    build_plan,
    check_options,
    device_costs,
    is_guided,
    plan_request,
    saved_plan,
)

if TYPE_CHECKING:
    from PIL import Image

    from ..models.config import TransformerConfig
    from ..pipeline import InfinityPipeline
    from ..sampling.report import RunReport
    from ..schedules import ScaleSchedule
    from ..sparsity.cost import CostModel
    from ..sparsity.director import Director
    from ..sparsity.plan import SparsityPlan


MOST_AT_ONCE = 8
"""Pictures that a GPU makes in one batch; more are made in several."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("prompt", help="what to draw")
    add_model(parser)
    add_size(parser)
    add("--seed", type=int, default=0, help="image i is drawn from seed + i (default 0)")
    add("--cfg", type=float, help="guidance strength; 1 = off")
    add("--tau", type=float, help="temperature")
    add("--top-p", type=float, default=0.97)
    add("--greedy", action="store_true", help="take the likelier bit everywhere")
    add("--negative", metavar="TEXT", help="what to steer away from")
    add("--num", type=int, default=1, help="how many images")
    add("--out", metavar="FILE.png", default="out.png", help="with --num: FILE-1.png, FILE-2.png")
    add("--report", metavar="FILE.json", help="write what was run and what it cost")
    add_overwrite(parser)
    add_device(parser)
    add("--vae-tile", type=int, metavar="N", help="decode in tiles of N latent pixels")
    add("--plan", metavar="PLAN",
        help=f"what to leave out: auto (accelerated where it is faster), {', '.join(names())}, a "
             "file of 'toprovar plan', or a picture made with --plan (default: dense, or "
             f"{default_strategy()} with --speedup or --budget)")
    add("--save-plan", metavar="FILE.json", help="write the plan as it was at the end of the run")
    add_plan_options(parser)


def run(arguments: argparse.Namespace) -> int:
    out, report_path = Path(arguments.out), arguments.report and Path(arguments.report)
    plan_path = arguments.save_plan and Path(arguments.save_plan)
    if arguments.plan is None and {arguments.speedup, arguments.budget} != {None}:
        arguments.plan = default_strategy()
    check_target("--out", out, ".png")
    check_target("--report", report_path)
    check_target("--save-plan", plan_path)
    check_sampling(arguments, arguments.num)
    if arguments.vae_tile is not None:
        whole("--vae-tile", arguments.vae_tile, 4)
    names = _numbered(out, arguments.num)
    check_outputs(arguments, [
        *(Output("--out", name, PICTURE) for name in names),
        *([Output("--report", report_path, REPORT)] if report_path else ()),
        *(Output("--save-plan", path, PLAN) for path in _plan_paths(plan_path, arguments.num)),
    ])
    if plan_path and not arguments.plan:
        raise ValueError("--save-plan needs --plan: a run without one is dense")
    if names_size(arguments):
        find_size(arguments, "1M")
    check_model(arguments)
    check_options(arguments, [arguments.plan or "dense"])
    saved = saved_plan(arguments.plan)
    from ..sparsity.plan import SparsityPlan

    pipeline = load_pipeline(arguments)
    pipeline.set_progress_bar_config(desc="scales")
    schedule = _schedule(arguments, saved, pipeline.config["default_pn"])
    plan, costs = _plan(arguments, pipeline, schedule, saved)
    about: dict[str, Any] = {"prompt": arguments.prompt, "negative_prompt": arguments.negative}
    if arguments.vae_tile:
        about["vae_tile"] = arguments.vae_tile
    notes = size_told(arguments, schedule)
    seeds = seed_list(arguments.seed, arguments.num)
    if arguments.plan is not None:
        about["plan_request"] = plan_request(arguments)

    def finished(report: RunReport) -> RunReport:
        report = replace(report, notes=(*notes, *report.notes))
        if arguments.plan is None:
            return report
        return _priced(report, costs, pipeline.transformer.shape, is_guided(arguments, pipeline))

    def write(index: int, image: Image.Image, report: RunReport) -> None:
        told = {**_as_json(finished(report), arguments.plan), **about}
        save_png(image, names[index], {**_parameters(told), "seed": seeds[index]})

    reports: list[RunReport] = []
    seconds = 0.0
    for first in range(0, arguments.num, _at_once(pipeline)):
        result = pipeline(
            arguments.prompt, arguments.negative, guidance_scale=arguments.cfg, tau=arguments.tau,
            num_images_per_prompt=min(arguments.num - first, _at_once(pipeline)),
            seed=seeds[first : first + _at_once(pipeline)], schedule=schedule, plan=plan,
            top_p=arguments.top_p, greedy=arguments.greedy, vae_tile=arguments.vae_tile,
            options=engine_options(arguments),
            on_image=lambda i, image, report, first=first: write(first + i, image, report),
        )
        reports += map(finished, result.reports)
        seconds += sum(result.report.seconds.values())
    runs = [_told(report, arguments.plan) for report in reports]
    if report_path:
        more = {"runs": runs} if len(runs) > 1 else {}
        text = json.dumps({**runs[0], **about, **more}, indent=1)
        replace_file(report_path, (text + "\n").encode())
    if plan_path:
        plans = runs[:1] if isinstance(plan, SparsityPlan) else runs
        for path, told in zip(_numbered(plan_path, len(plans)), plans, strict=True):
            replace_file(path, (json.dumps(told["sparsity_plan"], indent=1) + "\n").encode())
    if arguments.plan is not None:
        from .report_table import report_table

        for i, report in enumerate(reports):
            head = f"image {i + 1}\n" if len(reports) > 1 else ""
            print(f"{head}{report_table(report)}\n")
    first = reports[0]
    if arguments.plan is None and first.notes:
        print(safe_lines(f"note: {note}" for note in first.notes))
    height, width = schedule.image_size
    for name in names:
        print(printable(f"{name.absolute()} ({width}x{height}, {seconds:.2f} s, {first.device}, "
                        f"{first.dtype})"))
    return 0


def _schedule(arguments: argparse.Namespace, saved: SparsityPlan | None, default_pn: str
              ) -> ScaleSchedule:
    """The size that was asked for, else the plan's, else the model's."""
    if saved is None or names_size(arguments):
        return find_size(arguments, default_pn)
    from ..schedules import find_schedule

    return find_schedule([step.grid for step in saved.scales])


def _plan(arguments: argparse.Namespace, pipeline: InfinityPipeline, schedule: ScaleSchedule,
          saved: SparsityPlan | None) -> tuple[SparsityPlan | Director | None, CostModel | None]:
    """The plan, and this device's cost model to hold the run against; None without --plan. The
    automatic choice is not held up by measuring one."""
    if arguments.plan is None:
        return None, None
    if arguments.plan == AUTO and arguments.speedup is None:
        return build_plan(arguments, pipeline, schedule, AUTO, None,
                          is_guided(arguments, pipeline)), None
    if saved is not None:
        saved.check_fits(pipeline.transformer.shape, schedule)  # before anything is measured
    costs = device_costs(pipeline, schedule, engine_options(arguments))
    if saved is not None:
        return saved, costs
    return build_plan(arguments, pipeline, schedule, arguments.plan, costs,
                      is_guided(arguments, pipeline)), costs


def _priced(report: RunReport, costs: CostModel | None, shape: TransformerConfig, guided: bool
            ) -> RunReport:
    """With the cost of the plan as it was at the end, in seconds too if there is a model."""
    from ..sparsity.cost import predict

    assert report.used_plan is not None
    return replace(report, used_plan=predict(report.used_plan, shape, costs, guided))


def _told(report: RunReport, plan: str | None) -> dict[str, Any]:
    """A finished run as JSON, with what its plan was and gained if one was asked for."""
    from .report_table import speedups

    gained = {} if plan is None else {"speedup": speedups(report)}
    return {**_as_json(report, plan), **gained}


def _as_json(report: RunReport, plan: str | None) -> dict[str, Any]:
    """The same without what needs times."""
    from ..sparsity.plan_file import plan_to_json

    assert report.used_plan is not None
    own = {} if plan is None else {"sparsity_plan": plan_to_json(report.used_plan)}
    return {**report.to_json(), **own}


def _at_once(pipeline: InfinityPipeline) -> int:
    """Pictures of one batch. On a CPU it gains nothing, and each is shown as soon as it is done."""
    return 1 if pipeline.transformer.null_text.device.type == "cpu" else MOST_AT_ONCE


def _plan_paths(path: Path | None, count: int) -> list[Path]:
    """Where plans may go: one for all pictures, or one for each."""
    return [] if path is None else list(dict.fromkeys([path, *_numbered(path, count)]))


def _numbered(path: Path, count: int) -> list[Path]:
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{i + 1}{path.suffix}") for i in range(count)]


def _parameters(report: dict[str, Any]) -> dict[str, Any]:
    """What is needed to make the picture again."""
    keep = ("prompt", "negative_prompt", "plan", "plan_request", "sparsity_plan", "params",
            "vae_tile", "dtype", "device", "attention_backend", "versions")
    return {key: report[key] for key in keep if key in report}


def save_png(image: Image.Image, path: Path, parameters: dict[str, Any]) -> None:
    """Write a PNG with the parameters in a text chunk named "toprovar"."""
    import io

    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("toprovar", json.dumps(parameters, ensure_ascii=False))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    replace_file(path, buffer.getvalue())

"""``toprovar generate``: prompts in, pictures out."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import whole
from ..files import replace_file
from ..picture_files import check_ending, left_out_note, numbered, save_picture
from ..printable import printable, safe_lines
from ..sparsity.strategies.registry import default_strategy, names
from .comfyui import comfyui_prompt
from .early import check_model, check_sampling, check_target
from .generate_jobs import TOP_P, Job, make_jobs, notes_of, settle
from .model_options import (
    add_device,
    add_model,
    add_size,
    add_weights,
    engine_options,
    find_size,
    load_pipeline,
    names_size,
    size_told,
)
from .outputs import PICTURE, PLAN, REPORT, Output, add_overwrite, check_outputs
from .plan_options import (
    add_plan_options,
    check_options,
    is_guided,
    plan_request,
    saved_plan,
)
from .rerun import take_parameters
from .running import (
    as_json,
    at_once,
    parameters_of,
    plan_of,
    plan_paths,
    priced,
    run_told,
    schedule_of,
)

if TYPE_CHECKING:
    from PIL import Image

    from ..sampling.report import RunReport
    from ..schedules import ScaleSchedule


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("prompt", nargs="?", help="what to draw")
    add("--prompts", metavar="FILE", help="instead: a text file with a prompt a line, or a CSV "
        "file with the columns prompt and, where wanted, negative, seed and name")
    add("--from", dest="from_", metavar="PICTURE", help="instead: draw a picture of this command "
        "again, with its prompt, seed, size, plan and settings; options given beside it win")
    add_model(parser)
    add_size(parser)
    add("--seed", type=int, help="picture i is drawn from seed + i (default: 0)")
    add("--cfg", type=float, help="guidance strength; 1 = off (default: the model's)")
    add("--tau", type=float, help="temperature (default: the model's)")
    add("--top-p", type=float, help="share of the likeliest values that is drawn from (default: "
        f"{TOP_P})")
    add("--greedy", action="store_const", const=True, help="take the likelier bit everywhere "
        "(default: draw)")
    add("--negative", metavar="TEXT", help="what to steer away from (default: nothing)")
    add_weights(parser)
    add("--num", type=int, default=1, help="how many pictures of each prompt (default: 1)")
    add("--out", metavar="FILE", default="out.png", help="PNG, JPEG or WebP by its ending "
        "(default: out.png); several pictures are FILE-1, FILE-2 ...")
    add("--quality", type=int, metavar="N", default=95, help="of JPEG and WebP, 1 to 100; WebP of "
        "100 is lossless (default: 95)")
    add("--grid", metavar="FILE", help="all pictures on one sheet as well (default: none)")
    add("--report", metavar="FILE.json", help="write what was run and what it cost (default: "
        "nowhere)")
    add("--quiet", action="store_true", help="print errors only")
    add_overwrite(parser)
    add_device(parser)
    parser.set_defaults(dtype=None)
    add("--vae-tile", type=int, metavar="N",
        help="decode in tiles of N latent pixels (default: at once)")
    add("--plan", metavar="PLAN",
        help=f"what to leave out: auto (accelerated where it is faster), {', '.join(names())}, a "
             "file of 'toprovar plan make', or a picture made with --plan (default: dense, or "
             f"{default_strategy()} with --speedup or --budget)")
    add("--save-plan", metavar="FILE.json", help="write the plan as it was at the end of the run "
        "(default: nowhere)")
    add_plan_options(parser)


def run(arguments: argparse.Namespace) -> int:
    arguments.schedule = None
    if arguments.from_ is not None:
        take_parameters(arguments)
    settle(arguments)
    out, report_path = Path(arguments.out), arguments.report and Path(arguments.report)
    plan_path = arguments.save_plan and Path(arguments.save_plan)
    if arguments.plan is None and {arguments.speedup, arguments.budget} != {None}:
        arguments.plan = default_strategy()
    jobs = make_jobs(arguments, out)
    _check(arguments, jobs, out, report_path, plan_path)
    saved = saved_plan(arguments.plan)
    from ..sparsity.plan import SparsityPlan

    pipeline = load_pipeline(arguments)
    pipeline.set_progress_bar_config(desc="scales", disable=arguments.quiet)
    schedule = arguments.schedule or schedule_of(arguments, saved, pipeline.config["default_pn"])
    plan, costs = plan_of(arguments, pipeline, schedule, saved)
    notes = size_told(arguments, schedule)
    more: dict[str, Any] = {"vae_tile": arguments.vae_tile} if arguments.vae_tile else {}
    if arguments.plan is not None:
        more["plan_request"] = plan_request(arguments)
    more["prompt_weights"] = arguments.word_weights

    def finished(report: RunReport) -> RunReport:
        report = replace(report, notes=(*notes, *report.notes))
        if arguments.plan is None:
            return report
        return priced(report, costs, pipeline.transformer.shape, is_guided(arguments, pipeline))

    reports: list[RunReport] = []
    owners: list[Job] = []
    images: list[Image.Image] = []
    left: dict[str, None] = {}  # names of what did not fit into a picture, in order
    seconds = 0.0
    for job in jobs:
        about = {"prompt": job.prompt, "negative_prompt": job.negative, **more}

        def write(index: int, image: Image.Image, report: RunReport, job: Job = job,
                  about: dict[str, Any] = about) -> None:
            told = {**as_json(finished(report), arguments.plan), **about}
            parameters = {**parameters_of(told), "seed": job.seeds[index]}
            left.update(dict.fromkeys(save_picture(
                image, job.paths[index], parameters, arguments.quality,
                comfyui_prompt(parameters, arguments.model or arguments.transformer))))
            if arguments.grid:
                images.append(image)

        for first in range(0, len(job.seeds), at_once(pipeline)):
            result = pipeline(
                job.prompt, job.negative, guidance_scale=arguments.cfg, tau=arguments.tau,
                num_images_per_prompt=min(len(job.seeds) - first, at_once(pipeline)),
                seed=job.seeds[first : first + at_once(pipeline)], schedule=schedule, plan=plan,
                top_p=arguments.top_p, greedy=arguments.greedy, vae_tile=arguments.vae_tile,
                prompt_weights=arguments.word_weights,
                options=engine_options(arguments),
                on_image=lambda i, image, report, first=first, write=write:
                    write(first + i, image, report),
            )
            reports += map(finished, result.reports)
            owners += [job] * len(result.reports)
            seconds += sum(result.report.seconds.values())
    runs = [{**run_told(report, arguments.plan), "prompt": job.prompt,
             "negative_prompt": job.negative, **more}
            for report, job in zip(reports, owners, strict=True)]
    if report_path:
        every = {"runs": runs} if len(runs) > 1 else {}
        replace_file(report_path, (json.dumps({**runs[0], **every}, indent=1) + "\n").encode())
    if plan_path:
        plans = runs[:1] if isinstance(plan, SparsityPlan) else runs
        for path, told in zip(numbered(plan_path, len(plans)), plans, strict=True):
            replace_file(path, (json.dumps(told["sparsity_plan"], indent=1) + "\n").encode())
    if arguments.grid:
        from ..evaluation.grid import picture_grid

        captions = [f"{seed}: {job.prompt}" for job in jobs for seed in job.seeds]
        left.update(dict.fromkeys(save_picture(
            picture_grid(images, captions), Path(arguments.grid),
            {"prompts": [job.prompt for job in jobs]}, arguments.quality)))
    if not arguments.quiet:
        _show(arguments, reports, owners, jobs, schedule, seconds)
        if left:
            print(f"note: {left_out_note(left)}")
    return 0


def _check(arguments: argparse.Namespace, jobs: list[Job], out: Path, report: Path | None,
           plan: Path | None) -> None:
    """Refuse what can be refused before a model is loaded."""
    check_ending("--out", out)
    check_target("--out", out)
    check_target("--report", report)
    check_target("--save-plan", plan)
    check_sampling(arguments, arguments.num)
    whole("--quality", arguments.quality, 1, 100)
    if arguments.vae_tile is not None:
        whole("--vae-tile", arguments.vae_tile, 4)
    if arguments.grid:
        check_ending("--grid", Path(arguments.grid))
        check_target("--grid", arguments.grid)
    pictures = [path for job in jobs for path in job.paths]
    check_outputs(arguments, [
        *(Output("--out", path, PICTURE) for path in pictures),
        *([Output("--grid", Path(arguments.grid), PICTURE)] if arguments.grid else ()),
        *([Output("--report", report, REPORT)] if report else ()),
        *(Output("--save-plan", path, PLAN) for path in plan_paths(plan, len(pictures))),
    ])
    if plan and not arguments.plan:
        raise ValueError("--save-plan needs --plan: a run without one is dense")
    if names_size(arguments):
        find_size(arguments, "1M")
    check_model(arguments)
    check_options(arguments, [arguments.plan or "dense"])


def _show(arguments: argparse.Namespace, reports: list[RunReport], owners: list[Job],
          jobs: list[Job], schedule: ScaleSchedule, seconds: float) -> None:
    """The report, and where the pictures are."""
    if arguments.plan is not None:
        from .report_table import report_table

        for i, report in enumerate(reports):
            head = f"image {i + 1}\n" if len(reports) > 1 else ""
            print(f"{head}{report_table(report)}\n")
    first = reports[0]
    if arguments.plan is None and (notes := notes_of(reports, owners)):
        print(safe_lines(notes))
    height, width = schedule.image_size
    for path in (path for job in jobs for path in job.paths):
        print(printable(f"{path.absolute()} ({width}x{height}, {seconds:.2f} s, {first.device}, "
                        f"{first.dtype})"))
    if arguments.grid:
        print(printable(f"{Path(arguments.grid).absolute()} (all of them)"))

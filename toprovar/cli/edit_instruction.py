"""``toprovar instruct``: a picture and an instruction in, the edited picture out (VAREdit)."""

from __future__ import annotations

import argparse
import hashlib
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import MOST_IMAGES, check_prompts, seed_list, whole
from ..files import replace_file
from ..picture_files import check_ending, left_out_note, numbered, save_picture
from ..printable import printable, safe_lines
from ..reading import reading
from ..sparsity.strategies.registry import default_strategy, names
from .early import check_model, check_sampling, check_source, check_target
from .generate_jobs import TOP_P
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
from .outputs import NOT_READ, PICTURE, REPORT, Output, add_overwrite, check_outputs
from .plan_options import add_plan_options, check_options, is_guided, plan_request, saved_plan
from .running import as_json, at_once, parameters_of, plan_of, priced, run_told, schedule_of

if TYPE_CHECKING:
    from PIL import Image

    from ..sampling.report import RunReport

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("file", metavar="PICTURE", help="the picture to edit")
    add("instruction", metavar="INSTRUCTION", help="what to change, such as 'make it winter'")
    add("--crop", action="store_true", help="edit the middle square instead of the whole picture "
        "with white padding, which is nearer to what the model was trained on")
    add_model(parser)
    add_size(parser)
    add("--seed", type=int, default=0, help="edit i is drawn from seed + i (default: 0)")
    add("--cfg", type=float, help="how strongly the instruction is followed; 1 = no guidance "
        "(default: the model's)")
    add("--tau", type=float, help="temperature (default: the model's)")
    add("--top-p", type=float, default=TOP_P, help="share of the likeliest values that is drawn "
        f"from (default: {TOP_P})")
    add("--greedy", action="store_true", help="take the likelier bit everywhere")
    add("--negative", metavar="TEXT", help="what to steer away from (default: nothing)")
    add_weights(parser)
    add("--num", type=int, default=1, help="how many edits (default: 1)")
    add("--out", metavar="FILE", default="edit.png", help="PNG, JPEG or WebP by its ending "
        "(default: edit.png); several are FILE-1, FILE-2 ...")
    add("--quality", type=int, metavar="N", default=95, help="of JPEG and WebP, 1 to 100; WebP of "
        "100 is lossless (default: 95)")
    add("--report", metavar="FILE.json", help="write what was run and what it cost (default: "
        "nowhere)")
    add("--quiet", action="store_true", help="print errors only")
    add_overwrite(parser)
    add_device(parser)
    add("--vae-tile", type=int, metavar="N",
        help="decode in tiles of N latent pixels (default: at once)")
    add("--plan", metavar="PLAN",
        help=f"what to leave out: auto (accelerated where it is faster), {', '.join(names())}, or "
             f"a file of 'toprovar plan make' (default: dense, or {default_strategy()} with "
             "--speedup or --budget)")
    add_plan_options(parser)


def run(arguments: argparse.Namespace) -> int:
    out, report_path = Path(arguments.out), arguments.report and Path(arguments.report)
    if arguments.plan is None and {arguments.speedup, arguments.budget} != {None}:
        arguments.plan = default_strategy()
    if arguments.word_weights is None:
        arguments.word_weights = True
    paths = _check(arguments, out, report_path)
    saved, source = saved_plan(arguments.plan), open_source(arguments.file)
    pipeline = load_pipeline(arguments, edits=True)
    pipeline.set_progress_bar_config(desc="scales", disable=arguments.quiet)
    schedule = schedule_of(arguments, saved, pipeline.config["default_pn"])
    plan, costs = plan_of(arguments, pipeline, schedule, saved)
    notes = size_told(arguments, schedule)
    about: dict[str, Any] = {
        "prompt": arguments.instruction, "negative_prompt": arguments.negative,
        "prompt_weights": arguments.word_weights,
        "source_picture": {"file": Path(arguments.file).name, "crop": arguments.crop,
                           "sha256": hashlib.sha256(Path(arguments.file).read_bytes()).hexdigest()},
    }
    if arguments.vae_tile:
        about["vae_tile"] = arguments.vae_tile
    if arguments.plan is not None:
        about["plan_request"] = plan_request(arguments)
    seeds = seed_list(arguments.seed, arguments.num)
    left: dict[str, None] = {}

    def finished(report: RunReport) -> RunReport:
        report = replace(report, notes=(*notes, *report.notes))
        if arguments.plan is None:
            return report
        return priced(report, costs, pipeline.transformer.shape, is_guided(arguments, pipeline))

    def write(index: int, image: Image.Image, report: RunReport) -> None:
        told = {**as_json(finished(report), arguments.plan), **about}
        parameters = {**parameters_of(told), "source_picture": about["source_picture"],
                      "seed": seeds[index]}
        left.update(dict.fromkeys(save_picture(image, paths[index], parameters,
                                               arguments.quality)))

    reports: list[RunReport] = []
    seconds, most = 0.0, at_once(pipeline)
    for first in range(0, len(seeds), most):
        own = seeds[first : first + most]
        result = pipeline(
            arguments.instruction, arguments.negative, image=source, crop=arguments.crop,
            guidance_scale=arguments.cfg, tau=arguments.tau, num_images_per_prompt=len(own),
            seed=own, schedule=schedule, plan=plan, top_p=arguments.top_p,
            greedy=arguments.greedy, vae_tile=arguments.vae_tile,
            prompt_weights=arguments.word_weights, options=engine_options(arguments),
            on_image=lambda i, image, report, first=first: write(first + i, image, report),
        )
        reports += map(finished, result.reports)
        seconds += sum(result.report.seconds.values())
    if report_path:
        runs = [{**run_told(report, arguments.plan), **about} for report in reports]
        every = {"runs": runs} if len(runs) > 1 else {}
        replace_file(report_path, (json.dumps({**runs[0], **every}, indent=1) + "\n").encode())
    if not arguments.quiet:
        _show(arguments, reports, paths, seconds)
        if left:
            print(f"note: {left_out_note(left)}")
    return 0


def open_source(path: str) -> Image.Image:
    """A picture file, upright: cameras store how they were held, which is undone here.

    Raises:
        ValueError: it is no picture, or a damaged one.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    with reading(path, "picture", f"give a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(path, formats=list(FORMATS)) as image:
                    upright = ImageOps.exif_transpose(image)
                    return upright.convert("RGB")
        except UnidentifiedImageError:
            raise ValueError(f"none of {', '.join(FORMATS)}") from None
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise ValueError(f"it has more than {Image.MAX_IMAGE_PIXELS} pixels: make it "
                             "smaller") from None
        except (SyntaxError, EOFError) as error:
            raise ValueError(f"a damaged picture ({error})") from None


def _check(arguments: argparse.Namespace, out: Path, report: Path | None) -> list[Path]:
    """Refuse what can be refused before a model is loaded; where the edits will go."""
    check_source("PICTURE", arguments.file)
    check_prompts("the instruction", [arguments.instruction])
    check_ending("--out", out)
    check_target("--out", out)
    check_target("--report", report)
    arguments.prompt = None
    whole("--num", arguments.num, 1, MOST_IMAGES)
    check_sampling(arguments, arguments.num)
    whole("--quality", arguments.quality, 1, 100)
    if arguments.vae_tile is not None:
        whole("--vae-tile", arguments.vae_tile, 4)
    paths = numbered(out, arguments.num)
    check_outputs(arguments, [
        *(Output("--out", path, PICTURE) for path in paths),
        *([Output("--report", report, REPORT)] if report else ()),
    ], (*NOT_READ, "instruction"))
    if names_size(arguments):
        find_size(arguments, "1M")
    check_model(arguments)
    check_options(arguments, [arguments.plan or "dense"])
    return paths


def _show(arguments: argparse.Namespace, reports: list[RunReport], paths: list[Path],
          seconds: float) -> None:
    """The report, and where the edits are."""
    if arguments.plan is not None:
        from .report_table import report_table

        for i, report in enumerate(reports):
            head = f"edit {i + 1}\n" if len(reports) > 1 else ""
            print(f"{head}{report_table(report)}\n")
    first = reports[0]
    if arguments.plan is None and first.notes:
        print(safe_lines([f"note: {note}" for note in first.notes]))
    for path in paths:
        print(printable(f"{path.absolute()} ({seconds:.2f} s, {first.device}, {first.dtype})"))

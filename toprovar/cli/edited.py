"""What the commands have in common that draw from a picture or a draft."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import MOST_IMAGES, seed_list, whole
from ..files import replace_file
from ..picture_files import (
    check_ending,
    left_out_note,
    numbered,
    save_picture,
)
from ..printable import printable, safe_lines
from ..sparsity.strategies.registry import default_strategy, names
from .early import check_model, check_sampling, check_target
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
from .running import as_json, at_once, parameters_of, plan_of, priced, run_told

if TYPE_CHECKING:
    from PIL import Image

    from ..pipeline import InfinityPipeline
    from ..sampling.report import RunReport
    from ..schedules import ScaleSchedule
    from ..sparsity.plan import SparsityPlan
    from ..sparsity.planner import Planner

FindSize = Callable[["InfinityPipeline", "SparsityPlan | None"],
                    "tuple[ScaleSchedule, tuple[str, ...]]"]
"""(pipeline, the plan of a file or None) -> the schedule, and notes on it."""


def add_common(parser: argparse.ArgumentParser, picture: bool = True) -> None:
    """Options that are the same as of ``toprovar generate``.

    Args:
        picture: whether the command is given a picture.
    """
    add = parser.add_argument
    add_model(parser)
    add_size(parser, picture)
    add("--seed", type=int, help="picture i is drawn from seed + i (default: 0)")
    add("--cfg", type=float, help="guidance strength; 1 = off (default: the model's)")
    add("--tau", type=float, help="temperature (default: the model's)")
    add("--top-p", type=float, help="share of the likeliest values that is drawn from (default: "
        f"{TOP_P})")
    add("--greedy", action="store_const", const=True, help="take the likelier bit everywhere "
        "(default: draw)")
    add("--negative", metavar="TEXT", help="what to steer away from (default: nothing)")
    add_weights(parser)
    add("--num", type=int, default=1, help="how many pictures (default: 1)")
    add_output(parser)


def add_output(parser: argparse.ArgumentParser) -> None:
    """Where results go, on which device and by which plan."""
    add = parser.add_argument
    add("--out", metavar="FILE", default="out.png", help="PNG, JPEG or WebP by its ending "
        "(default: out.png); several pictures are FILE-1, FILE-2 ...")
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
        help=f"what to leave out: auto (accelerated where it is faster), {', '.join(names())}, a "
             "file of 'toprovar plan make', or a picture made with --plan (default: dense, or "
             f"{default_strategy()} with --speedup or --budget)")
    add_plan_options(parser)


def settle(arguments: argparse.Namespace) -> None:
    """Defaults of what is not given."""
    for name, value in (("seed", 0), ("top_p", TOP_P), ("greedy", False), ("num", 1),
                        ("word_weights", True), ("cfg", None), ("negative", None)):
        if getattr(arguments, name, None) is None:
            setattr(arguments, name, value)
    if arguments.plan is None and {arguments.speedup, arguments.budget} != {None}:
        arguments.plan = default_strategy()


def check_common(arguments: argparse.Namespace, outputs: Sequence[Output],
                 not_read: Sequence[str] = ()) -> None:
    """Refuse what can be refused before a model is loaded.

    Args:
        outputs: files that will be written, beside the report.
        not_read: names of arguments that are texts, beside the usual ones.
    """
    check_target("--out", arguments.out)
    check_target("--report", arguments.report)
    check_sampling(arguments, arguments.num)
    whole("--quality", arguments.quality, 1, 100)
    if arguments.vae_tile is not None:
        whole("--vae-tile", arguments.vae_tile, 4)
    report = [Output("--report", Path(arguments.report), REPORT)] if arguments.report else []
    check_outputs(arguments, [*outputs, *report], (*NOT_READ, *not_read))
    if hasattr(arguments, "size") and names_size(arguments):
        find_size(arguments, "1M")
    check_model(arguments)
    check_options(arguments, [arguments.plan or "dense"])


def pictures_to(arguments: argparse.Namespace, count: int) -> list[Output]:
    """Where pictures go."""
    check_ending("--out", Path(arguments.out))
    whole("--num", count, 1, MOST_IMAGES)
    return [Output("--out", path, PICTURE) for path in numbered(Path(arguments.out), count)]


def read_picture(flag: str, path: str) -> Image.Image:
    """A picture to be worked on; a ValueError names what is none."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image)
    except (UnidentifiedImageError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(f"{flag}: {path!r} is no picture that can be read ({error})") from None
    except OSError as error:
        raise ValueError(f"{flag}: {path!r} cannot be read: {error.strerror or error}") from None


@dataclass
class Session:
    """A loaded model, the plan, and what pictures are told about.

    Attributes:
        notes: of all runs; about: parameters of all pictures.
    """

    arguments: argparse.Namespace
    pipeline: InfinityPipeline
    schedule: ScaleSchedule
    plan: Planner | None
    costs: Any
    notes: tuple[str, ...]
    about: dict[str, Any]

    @staticmethod
    def start(arguments: argparse.Namespace, size: FindSize) -> Session:
        """Load the model and make the plan."""
        saved = saved_plan(arguments.plan)
        pipeline = load_pipeline(arguments)
        pipeline.set_progress_bar_config(desc="scales", disable=arguments.quiet)
        schedule, notes = size(pipeline, saved)
        plan, costs = plan_of(arguments, pipeline, schedule, saved)
        about: dict[str, Any] = {"prompt_weights": arguments.word_weights}
        if arguments.vae_tile:
            about["vae_tile"] = arguments.vae_tile
        if arguments.plan is not None:
            about["plan_request"] = plan_request(arguments)
        return Session(arguments, pipeline, schedule, plan, costs, notes, about)

    @property
    def call(self) -> dict[str, Any]:
        """Arguments of a pipeline call."""
        given = self.arguments
        return {"guidance_scale": given.cfg, "tau": given.tau, "top_p": given.top_p,
                "greedy": given.greedy, "negative_prompt": given.negative,
                "prompt_weights": given.word_weights, "vae_tile": given.vae_tile,
                "options": engine_options(given), "plan": self.plan, "schedule": self.schedule}

    def finished(self, report: RunReport) -> RunReport:
        report = replace(report, notes=(*self.notes, *report.notes))
        if self.arguments.plan is None:
            return report
        return priced(report, self.costs, self.pipeline.transformer.shape,
                      is_guided(self.arguments, self.pipeline))

    def draw(self, draw: Callable[..., Any], prompt: str, edit: dict[str, Any]) -> int:
        """Draw, write and report the pictures of one prompt.

        Args:
            draw: (seeds of some pictures, on_image) -> the pipeline's output.
            edit: told of every picture, under "edit".
        """
        given = self.arguments
        paths = numbered(Path(given.out), given.num)
        seeds = seed_list(given.seed, given.num)
        about = {**self.about, "prompt": prompt, "negative_prompt": given.negative, "edit": edit}
        reports: list[RunReport] = []
        left: dict[str, None] = {}
        seconds, size = 0.0, (0, 0)

        def write(index: int, image: Image.Image, report: RunReport) -> None:
            nonlocal size
            size = image.size
            told = {**as_json(self.finished(report), given.plan), **about}
            self._whole_plan(told)
            left.update(dict.fromkeys(save_picture(
                image, paths[index], {**parameters_of(told), "seed": seeds[index], "edit": edit},
                given.quality)))

        step = at_once(self.pipeline)
        for first in range(0, len(seeds), step):
            result = draw(seeds[first : first + step],
                          lambda i, image, report, first=first: write(first + i, image, report))
            reports += map(self.finished, result.reports)
            seconds += sum(result.report.seconds.values())
        runs = [{**run_told(report, given.plan), **about} for report in reports]
        if given.report:
            every = {"runs": runs} if len(runs) > 1 else {}
            replace_file(given.report, (json.dumps({**runs[0], **every}, indent=1) + "\n").encode())
        if not given.quiet:
            self.show(reports, paths, size, seconds)
            if left:
                print(f"note: {left_out_note(left)}")
        return 0

    def _whole_plan(self, told: dict[str, Any]) -> None:
        """The plan that was asked for in place of the one that was restricted to a region, which no
        other edit can start from."""
        from ..sparsity.plan import SparsityPlan
        from ..sparsity.plan_file import plan_to_json

        if "sparsity_plan" in told:
            del told["sparsity_plan"]
            if isinstance(self.plan, SparsityPlan):
                told["sparsity_plan"] = plan_to_json(self.plan)

    def show(self, reports: Sequence[RunReport], paths: Sequence[Path], size: tuple[int, int],
             seconds: float) -> None:
        """The report, and where the pictures are."""
        if self.arguments.plan is not None:
            from .report_table import report_table

            for i, report in enumerate(reports):
                head = f"image {i + 1}\n" if len(reports) > 1 else ""
                print(f"{head}{report_table(report)}\n")
        elif notes := list(dict.fromkeys(f"note: {n}" for r in reports for n in r.notes)):
            print(safe_lines(notes))
        for path in paths:
            print(printable(f"{path.absolute()} ({size[0]}x{size[1]}, {seconds:.2f} s, "
                            f"{reports[0].device}, {reports[0].dtype})"))


def size_of(arguments: argparse.Namespace, height: int, width: int) -> FindSize:
    """The size that was asked for, else that of a picture drawn again, else the one of
    ``schedules.schedule_for_picture``.

    Args:
        height, width: of the picture, in pixels.
    """
    def find(pipeline: InfinityPipeline, saved: SparsityPlan | None
             ) -> tuple[ScaleSchedule, tuple[str, ...]]:
        from ..schedules import find_schedule, picture_notes, schedule_for_picture
        from ..sparsity.plan import size_of_plan

        own = pipeline.config["default_pn"]
        if names_size(arguments):
            schedule = find_size(arguments, own, height / width)
            return schedule, size_told(arguments, schedule)
        if arguments.grids is not None:
            return find_schedule(arguments.grids), ()
        part = getattr(arguments, "padding_mask_crop", None) is not None
        schedule = schedule_for_picture(height, width, own, size_of_plan(saved), part)
        return schedule, () if part else picture_notes(schedule, height, width, own)

    return find

"""``toprovar draft``: the first scales of many pictures, on one sheet that holds them."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..arguments import check_prompts, seed_list, whole
from ..printable import printable
from .edited import Session, add_common, check_common, settle
from .model_options import size_told
from .outputs import DRAFT, PICTURE, Output
from .running import at_once, schedule_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("prompt", help="what to draw")
    add("--until", type=int, metavar="SIDE", help="the last scale that is drawn, by its tokens a "
        "side in the square size (default: 16, or 8 at 0.06M pixels)")
    add_common(parser, picture=False)
    parser.set_defaults(num=None, out="drafts.png")
    for action in parser._actions:  # what differs from the other commands
        if action.dest == "out":
            action.help = ("PNG, a sheet that holds the drafts, or .safetensors, the drafts alone "
                           "(default: drafts.png)")
        if action.dest == "num":
            action.help = "how many (default: 8)"
    add("--png", metavar="FILE", help="the sheet, beside drafts in .safetensors (default: none)")


def run(arguments: argparse.Namespace) -> int:
    arguments.num = 8 if arguments.num is None else arguments.num
    settle(arguments)
    check_prompts("the prompt", [arguments.prompt])
    if arguments.until is not None:
        whole("--until", arguments.until, 1)
    out = Path(arguments.out)
    if out.suffix.lower() not in (".png", ".safetensors"):
        raise ValueError(f"--out must end in .png or .safetensors, got {arguments.out!r}")
    outputs = [Output("--out", out, PICTURE if out.suffix.lower() == ".png" else DRAFT)]
    if arguments.png:
        if Path(arguments.png).suffix.lower() != ".png":
            raise ValueError(f"--png must end in .png, got {arguments.png!r}")
        outputs.append(Output("--png", Path(arguments.png), PICTURE))
    check_common(arguments, outputs, ("png",))

    def size(pipeline: Any, saved: Any) -> Any:
        schedule = schedule_of(arguments, saved, pipeline.config["default_pn"])
        return schedule, size_told(arguments, schedule)

    session = Session.start(arguments, size)
    _draw(arguments, session, out)
    return 0


def _draw(arguments: argparse.Namespace, session: Session, out: Path) -> None:
    from ..editing.draft import joined
    from ..editing.draft_file import save_draft, save_draft_picture
    from ..evaluation.grid import picture_grid

    call = {name: value for name, value in session.call.items() if name != "negative_prompt"}
    step = max(at_once(session.pipeline), 8 if arguments.plan is None else 1)
    parts, seeds = [], seed_list(arguments.seed, arguments.num)
    for first in range(0, arguments.num, step):
        count = min(step, arguments.num - first)
        parts.append(session.pipeline.draft(
            arguments.prompt, arguments.negative, seed=seeds[first : first + count],
            until="auto" if arguments.until is None else arguments.until,
            num_images_per_prompt=count, **call))
    draft = replace(joined(parts), request=session.about.get("plan_request"))
    sheet = None
    if out.suffix.lower() == ".png" or arguments.png:
        captions = [f"{i + 1}: seed {seed}" for i, seed in enumerate(draft.seeds)]
        sheet = picture_grid(session.pipeline.preview(draft), captions)
    about = {"prompt": arguments.prompt, "negative_prompt": arguments.negative,
             "prompt_weights": arguments.word_weights}
    if out.suffix.lower() == ".png":
        assert sheet is not None
        save_draft_picture(draft, out, sheet, about)
    else:
        save_draft(draft, out)
    if arguments.png and sheet is not None:
        save_draft_picture(draft, arguments.png, sheet, about)
    if not arguments.quiet:
        height, width = draft.schedule.image_size
        then = "whole pictures already: a smaller --until takes less time" if draft.finished else \
            f"finish some with 'toprovar finish {out.name} --which 1,2'"
        drafts = f"{len(draft)} draft{'s' if len(draft) > 1 else ''}"
        print(printable(f"{out.absolute()} ({drafts} of {width}x{height}, {draft.done} of "
                        f"{len(draft.schedule)} scales; {then})"))

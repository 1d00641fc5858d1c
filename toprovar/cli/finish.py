"""``toprovar finish``: drafts that were chosen, drawn to the end."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..picture_files import numbered
from .early import check_source
from .edited import Session, add_output, check_common, pictures_to, settle
from .model_options import add_model
from .running import at_once


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("draft", help="a file or sheet of 'toprovar draft'")
    add("--which", metavar="LIST", help="numbers on the sheet, such as 1,4 (default: all)")
    add("--pixels", "--pn", metavar="PN", help="go on to a larger pixel budget: 0.25M, 0.60M or 1M "
        "(default: the draft's)")
    add_model(parser)
    add_output(parser)


def run(arguments: argparse.Namespace) -> int:
    from ..editing.draft_file import load_draft

    check_source("the draft", arguments.draft)
    for name in ("tau", "seed"):
        setattr(arguments, name, None)
    arguments.prompt = None
    settle(arguments)
    draft = load_draft(arguments.draft)
    which = _which(arguments.which, len(draft))
    arguments.num = len(which)
    arguments.cfg = draft.params.cfg if draft.params.guided else 1.0
    arguments.word_weights = draft.prompt_weights
    check_common(arguments, pictures_to(arguments, len(which)), ("draft", "which"))
    try:
        schedule = draft.finished_size(arguments.pixels)
    except ValueError as error:
        raise ValueError(f"--pixels {arguments.pixels}: {error}") from None

    def size(pipeline: Any, saved: Any) -> Any:
        draft.check_model(pipeline.transformer)
        return schedule, ()

    asked = arguments.plan
    session = Session.start(arguments, size)
    _draw(session, draft, which, asked)
    return 0


def _draw(session: Session, draft: Any, which: list[int], asked: str | None) -> None:
    """Every picture is told of as ``toprovar generate`` tells it, so that ``generate --from`` draws
    it again."""
    from ..picture_files import save_picture
    from ..sparsity.plan_file import plan_to_json
    from .running import as_json, parameters_of

    given = session.arguments
    paths = numbered(Path(given.out), len(which))
    own = {name: session.call[name] for name in ("vae_tile", "options", "schedule")}
    reports, seconds = [], 0.0
    size = session.schedule.image_size
    step = at_once(session.pipeline)
    for first in range(0, len(which), step):
        numbers = which[first : first + step]

        def write(index: int, image: Any, report: Any, first: int = first,
                  numbers: list[int] = numbers) -> None:
            n = numbers[index]
            told = {**as_json(session.finished(report), asked), **session.about,
                    "prompt": draft.prompts[n],
                    "negative_prompt": None if draft.negatives is None else draft.negatives[n]}
            if asked is None and draft.plan is not None:
                told["sparsity_plan"] = plan_to_json(draft.plan)
                told["plan_request"] = dict(draft.request or {"plan": draft.plan.strategy})
            save_picture(image, paths[first + index],
                         {**parameters_of(told), "seed": draft.seeds[n]}, given.quality)

        result = session.pipeline.finish(draft, numbers, plan=session.plan, on_image=write, **own)
        reports += map(session.finished, result.reports)
        seconds += sum(result.report.seconds.values())
    if given.report:
        _report(session, reports, asked)
    if not given.quiet:
        session.show(reports, paths, (size[1], size[0]), seconds)


def _report(session: Session, reports: list[Any], asked: str | None) -> None:
    import json

    from ..files import replace_file
    from .running import run_told

    runs = [{**run_told(report, asked), **session.about} for report in reports]
    every = {"runs": runs} if len(runs) > 1 else {}
    replace_file(session.arguments.report,
                 (json.dumps({**runs[0], **every}, indent=1) + "\n").encode())


def _which(text: str | None, count: int) -> list[int]:
    """Numbers from 1 as places from 0."""
    if text is None:
        return list(range(count))
    found = []
    for part in text.split(","):
        if not part.strip().isdecimal() or not 1 <= int(part) <= count:
            raise ValueError(f"--which must name pictures of the draft, 1 to {count}, separated by "
                             f"commas, got {part.strip()!r}")
        found.append(int(part) - 1)
    if len(set(found)) < len(found):
        raise ValueError(f"--which names a picture twice: {text!r}")
    return found

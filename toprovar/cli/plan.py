"""``toprovar plan``: make a sparsity plan, show it, check it, and set two apart."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import guidance
from ..printable import one_line, printable, safe_lines
from ..sparsity.strategies.registry import get_strategy, names
from .early import check_model, check_source, check_target
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
from .outputs import NOT_READ, PICTURE, PLAN, Output, add_overwrite, check_outputs
from .plan_options import (
    add_plan_options,
    build_plan,
    check_options,
    device_costs,
    is_guided,
    read_plan,
)
from .strategy_options import parsed

if TYPE_CHECKING:
    from ..sparsity.plan import SparsityPlan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    make = actions.add_parser("make", help="write a plan for a model and a size")
    make.add_argument("strategy", choices=names(), help="the strategy that makes the plan")
    make.add_argument("file", metavar="FILE.json", help="the file to be written")
    make.add_argument("--cfg", type=float, help="guidance strength that is planned for; 1 = off "
                      "(default: the model's)")
    make.add_argument("--costs", action="store_true",
                      help="predict seconds, too, by a cost model of this device (--speedup does)")
    add_overwrite(make)
    show = actions.add_parser("show", help="a plan as a table, and as a picture")
    show.add_argument("file", metavar="FILE", help="a plan, or a picture made with --plan")
    show.add_argument("--picture", metavar="FILE.png",
                      help="scales by layers, and what each scale costs (default: none)")
    add_overwrite(show)
    validate = actions.add_parser("validate", help="check a plan; 1 = it cannot be used")
    validate.add_argument("file", metavar="FILE", help="a plan, or a picture made with --plan")
    validate.add_argument("--embedded", action="store_true", help="check against the embedded "
                          "model (for another, --model)")
    for action in (make, validate):
        add_model(action)
        add_size(action)
        add_device(action)
    add_plan_options(make)
    diff = actions.add_parser("diff", help="what sets two plans apart; 1 = something does")
    diff.add_argument("first", metavar="A", help="a plan, or a picture made with --plan")
    diff.add_argument("second", metavar="B", help="the same")


def run(arguments: argparse.Namespace) -> int:
    return {"make": _make, "show": _show, "validate": _validate,
            "diff": _diff}[arguments.action](arguments)


def _make(arguments: argparse.Namespace) -> int:
    strategy, file = arguments.strategy, Path(arguments.file)
    check_target("a plan's file", file, ".json")
    if arguments.cfg is not None:
        guidance("--cfg", arguments.cfg)
    if names_size(arguments):
        find_size(arguments, "1M")
    check_outputs(arguments, [Output("FILE", file, PLAN)], (*NOT_READ, "file"))
    check_model(arguments)
    check_options(arguments, [strategy])
    settings, _ = parsed(arguments, strategy)
    get_strategy(strategy).for_file(
        settings, arguments.speedup is not None or arguments.budget is not None)
    pipeline = load_pipeline(arguments, edits=None)
    from ..sparsity.plan import SparsityPlan
    from ..sparsity.plan_file import save_plan
    from ..sparsity.plan_table import plan_table

    schedule = find_size(arguments, pipeline.config["default_pn"])
    costs = None
    if arguments.costs or arguments.speedup is not None:
        costs = device_costs(pipeline, schedule, engine_options(arguments))
    plan = build_plan(arguments, pipeline, schedule, strategy, costs,
                      is_guided(arguments, pipeline), for_file=True)
    assert isinstance(plan, SparsityPlan)  # what plans inside the run was refused above
    save_plan(plan, file)
    print(plan_table(plan))
    for note in size_told(arguments, schedule):
        print(f"note: {note}")
    print(printable(f"\nwrote {file.absolute()}"))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from ..files import replace_file
    from ..sparsity.plan_table import plan_table

    picture = arguments.picture and Path(arguments.picture)
    check_target("--picture", picture, ".png")
    plan = read_plan(arguments.file)
    if picture:
        check_outputs(arguments, [Output("--picture", picture, PICTURE)])
        from ..sparsity.plan_picture import plan_png

        replace_file(picture, plan_png(plan))
    print(plan_table(plan))
    if picture:
        print(printable(f"\nwrote {picture.absolute()}"))
    return 0


def _validate(arguments: argparse.Namespace) -> int:
    check_source("FILE", arguments.file)
    if arguments.embedded and arguments.model:
        raise ValueError("give either --embedded or --model")
    if names_size(arguments):
        find_size(arguments, "1M")
    check_model(arguments)
    try:
        plan = read_plan(arguments.file)
        against, notes = _fits(arguments, plan)
    except ValueError as error:
        print(f"toprovar plan: {one_line(error)}", file=sys.stderr)
        return 1
    head = f"{arguments.file}: a sound {plan.strategy} plan for {plan.schedule}, {against}"
    print(safe_lines([head, *(f"note: {note}" for note in notes)]))
    return 0


def _fits(arguments: argparse.Namespace, plan: SparsityPlan) -> tuple[str, tuple[str, ...]]:
    """What the plan was held against, and notes; a ValueError says what it does not fit."""
    from ..schedules import find_schedule

    listed = find_schedule([step.grid for step in plan.scales])
    if not (arguments.model or arguments.embedded or arguments.transformer):
        if names_size(arguments) and find_size(arguments, listed.pn) != listed:
            raise ValueError(f"{arguments.file}: made for {plan.schedule}, which is another size")
        return "checked without a model", ()
    pipeline = load_pipeline(arguments, edits=None)
    from ..models.fingerprint import model_fingerprint

    schedule = find_size(arguments, listed.pn) if names_size(arguments) else listed
    notes = plan.check_fits(pipeline.transformer.shape, schedule,
                            model_fingerprint(pipeline.transformer))
    return "fits the model", notes


def _diff(arguments: argparse.Namespace) -> int:
    from ..sparsity.plan_table import plan_differences

    a, b = read_plan(arguments.first), read_plan(arguments.second)
    lines = plan_differences(a, b)
    print("\n".join(lines) if lines else "the plans are alike")
    return int(bool(lines))

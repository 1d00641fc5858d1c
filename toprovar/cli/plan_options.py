"""Options that say how a run is accelerated, for the commands that plan."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..picture_files import ENDINGS
from ..printable import printable
from ..sparsity.strategies.registry import (
    AUTO,
    all_strategies,
    get_strategy,
    names,
    with_targets,
)
from .early import check_budget
from .strategy_options import add_strategy_options, flags, given, given_told, loaded, parsed

if TYPE_CHECKING:
    from ..pipeline import InfinityPipeline
    from ..sampling.params import EngineOptions
    from ..schedules import ScaleSchedule
    from ..sparsity.cost import CostModel
    from ..sparsity.plan import SparsityPlan
    from ..sparsity.planner import Planner

def add_plan_options(parser: argparse.ArgumentParser) -> None:
    """The target and every strategy's settings."""
    target = parser.add_argument_group("target")
    target.add_argument("--speedup", type=float, metavar="X",
                        help="of the scale loop, by a cost model of this device, which is measured "
                             "once and kept (default: none)")
    target.add_argument("--budget", type=float, metavar="B",
                        help="share of a dense run's FLOPs, 0 to 1 (default: none)")
    add_strategy_options(parser)


def check_options(arguments: argparse.Namespace, strategies: Sequence[str]) -> None:
    """Refuse options that none of ``strategies`` uses, and those that exclude each other.

    Files that they name are read.

    Raises:
        ValueError: naming the option.
    """
    has_target = arguments.speedup is not None or arguments.budget is not None
    if arguments.speedup is not None and arguments.budget is not None:
        raise ValueError("give either --speedup or --budget, not both")
    check_budget(arguments)
    if has_target and not set(strategies) & {*with_targets(), AUTO}:
        raise ValueError(f"--speedup and --budget are for {', '.join((AUTO, *with_targets()))}, "
                         f"not for {', '.join(strategies)}")
    for name in names():
        own = given(arguments, name)
        for option, flag, decided, _ in flags(get_strategy(name)):
            if option not in own:
                continue
            if name not in strategies:
                raise ValueError(f"{flag} is an option of {name}, but this run uses "
                                 f"{', '.join(strategies)}: leave it out")
            if has_target and decided:
                raise ValueError(f"--speedup and --budget choose {flag} themselves: leave out one "
                                 "of the two")
    for name in strategies:
        if name in all_strategies():
            settings, files = parsed(arguments, name)
            get_strategy(name).check(settings, files, has_target)
            loaded(name, files)


def build_plan(
    arguments: argparse.Namespace, pipeline: InfinityPipeline, schedule: ScaleSchedule,
    strategy: str, cost_model: CostModel | None = None, guided: bool = True, for_file: bool = False,
) -> Planner:
    """The plan or planner that the options ask for (``planning.make_plan``).

    Args:
        for_file: whether it must be made before the run.
    """
    from ..models.fingerprint import model_fingerprint
    from ..planning import make_plan

    method = get_strategy(strategy)
    settings, files = parsed(arguments, strategy)
    resources = loaded(strategy, files)
    for one in method.resources:
        if one.name in resources and one.adopt is not None:
            for note in one.adopt(files[one.name], resources[one.name],
                                  pipeline.transformer.shape.depth,
                                  model_fingerprint(pipeline.transformer)):
                print(printable(f"note: {note}"), file=sys.stderr)
    target = {} if not method.targets else {
        "speedup": arguments.speedup, "budget": arguments.budget}
    if for_file:
        settings = method.for_file(settings, any(v is not None for v in target.values()))
    return make_plan(pipeline, strategy, schedule, cost_model=cost_model, guided=guided,
                     settings=settings, **target, **resources)


def device_costs(pipeline: InfinityPipeline, schedule: ScaleSchedule, options: EngineOptions
                 ) -> CostModel:
    """The cost model of this device, measured at the first call."""
    from ..device_cost import cost_model_for

    return cost_model_for(pipeline.transformer, schedule, options)


def is_guided(arguments: argparse.Namespace, pipeline: InfinityPipeline) -> bool:
    cfg = arguments.cfg
    return (pipeline.config["default_cfg"] if cfg is None else cfg) != 1


def plan_request(arguments: argparse.Namespace) -> dict[str, Any]:
    """What ``--plan`` and its options asked for, without the folders of this machine."""
    target = {name: getattr(arguments, name) for name in ("speedup", "budget")
              if getattr(arguments, name) is not None}
    return {"plan": Path(arguments.plan).name, **target, **given_told(arguments, arguments.plan)}


def saved_plan(asked: str | None) -> SparsityPlan | None:
    """The plan that ``--plan`` names a file of; None where it names a strategy, or nothing."""
    if asked is None or asked in (*names(), AUTO):
        return None
    if not Path(asked).is_file():
        raise ValueError(f"no strategy and no file is called {asked!r}: expected one of "
                         f"{', '.join(names())}, {AUTO}, or a file of 'toprovar plan make'")
    return read_plan(asked)


def read_plan(path: str | Path) -> SparsityPlan:
    """A plan file, or the plan that a picture of ``toprovar generate`` was made with."""
    from ..sparsity.plan_file import load_plan, load_plan_of_picture

    picture = Path(path).suffix.lower() in ENDINGS
    return load_plan_of_picture(path) if picture else load_plan(path)

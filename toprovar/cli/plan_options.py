"""Options that say how a run is accelerated, for the commands that plan."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import share, whole
from ..printable import printable
from .early import check_budget

if TYPE_CHECKING:
    from ..entropy.calibration import Calibration
    from ..pipeline import InfinityPipeline
    from ..sampling.params import EngineOptions
    from ..schedules import ScaleSchedule
    from ..sparsity.cost import CostModel
    from ..sparsity.director import Director
    from ..sparsity.plan import SparsityPlan

STRATEGIES = ("dense", "toprovar", "fastvar", "skipvar")
AUTO = "auto"
"""ToProVAR where it pays, else dense (``planning.AUTO``)."""


@dataclass(frozen=True)
class Option:
    """A command line option of one strategy.

    Attributes:
        name: of the setting; flag: how it is spelt.
    """

    strategy: str
    name: str
    flag: str
    help: str
    how: dict[str, Any] = field(default_factory=dict)

    @property
    def dest(self) -> str:
        return f"{self.strategy}_{self.name}"


def _toprovar(name: str, flag: str, help: str, **how: Any) -> Option:
    return Option("toprovar", name, flag, help, how)


OPTIONS = (
    _toprovar("planned", "--planned",
              "run = for each prompt, inside its run, with --dropped identity or cached; before = "
              "one plan for all prompts, from the model's calibration or the family's prior "
              "(default: run)", choices=["run", "before"]),
    _toprovar("ladder", "--ladder", "whether a plan made inside the run is one of a few prepared "
              "ones, which later pictures share (default: yes)", choices=["yes", "no"]),
    _toprovar("calibration", "--calibration", "of 'toprovar analyze' (default: the one in the box)",
              metavar="FILE"),
    _toprovar("start_scale", "--start-scale", "first scale that is pruned (default: calibrated, or "
              "found in the run)", type=int, metavar="N"),
    _toprovar("alpha_min", "--alpha-min", "share dropped of Global layers (default 0)", type=float),
    _toprovar("alpha_max", "--alpha-max", "share dropped of Detail layers at the last scale "
              "(default 0.9)", type=float),
    _toprovar("dimensions", "--dimensions", "leave dimensions of the method out (default: all)",
              choices=["all", "scale+token", "scale+layer", "scale", "fixed_exit"]),
    _toprovar("rule", "--rule", "which tokens are kept (default: entropy)",
              choices=["entropy", "entropy_reversed", "variance", "random"]),
    _toprovar("dropped", "--dropped", "what dropped tokens get: nothing, the update of an earlier "
              "scale, or they exit (default: calibrated, else exit; published: identity)",
              choices=["identity", "cached", "exit"]),
    _toprovar("resize", "--resize", "how such updates are resized (default: bilinear)",
              choices=["area", "bilinear", "nearest"]),
    _toprovar("region", "--region", "side, in tokens, of the regions that keep a minimum; 0 = none "
              "(default 8)", type=int, metavar="N"),
    _toprovar("min_share", "--min-share", "that minimum, as a share of an even spread (default "
              "0.25)", type=float),
    _toprovar("tile", "--tile", "keep counts are rounded up to a multiple of this (default 16)",
              type=int, metavar="N"),
    _toprovar("unconditional_off", "--unconditional-off", "scales at the end that run without "
              "guidance (default: with exit as calibrated, or by the prior)", type=int,
              metavar="N"),
    _toprovar("shortcuts", "--shortcuts", "whether the calibration's shortcuts through the first "
              "layers may be taken (default: yes)", choices=["yes", "no"]),
    _toprovar("tau", "--rho-tau", "rho at which pruning starts (default: calibrated, else 0.4)",
              type=float),
    _toprovar("crossing", "--crossing", "in which direction rho crosses it",
              choices=["rising", "falling"]),
    _toprovar("beta", "--beta", "strength of the layer score (default: calibrated)", type=float),
    _toprovar("representative_scale", "--representative-scale", "whose maps tell Global layers "
              "from Detail layers", type=int, metavar="N"),
    _toprovar("normalization", "--normalization", "of the entropies; sum is the published form, "
              "which ranks nothing (default: mean)", choices=["mean", "sum", "rank"]),
    _toprovar("seed", "--rule-seed", "of --rule random (default 0)", type=int),
    Option("fastvar", "drop", "--drop", "share of tokens dropped on the last scales, such as "
           "0.4,0.5,1,1; 1 = not run (default: the official ones)", {"metavar": "LIST"}),
    Option("skipvar", "skip", "--skip", "fixed policy: scales at the end that are not run",
           {"type": int, "metavar": "N"}),
    Option("skipvar", "uncond", "--uncond", "fixed policy: scales at the end without guidance",
           {"type": int, "metavar": "N"}),
    Option("skipvar", "decisions", "--decisions", "decision model of 'toprovar fit-skipvar' "
           "(default: the one in the box)", {"metavar": "FILE"}),
)
NOT_SETTINGS = ("planned", "calibration")
SOLVED = {"toprovar": ("alpha_min", "alpha_max"), "fastvar": ("drop",),
          "skipvar": ("skip", "uncond", "decisions")}
"""What a target decides, so that it cannot be given as well."""


def add_plan_options(parser: argparse.ArgumentParser) -> None:
    """The target and every strategy's settings."""
    target = parser.add_argument_group("target")
    target.add_argument("--speedup", type=float, metavar="X",
                        help="of the scale loop, by a cost model of this device, which is measured "
                             "once and kept")
    target.add_argument("--budget", type=float, metavar="B",
                        help="share of a dense run's FLOPs, 0 to 1")
    for strategy in STRATEGIES[1:]:
        group = parser.add_argument_group(strategy)
        for option in OPTIONS:
            if option.strategy == strategy:
                group.add_argument(option.flag, dest=option.dest, help=option.help, **option.how)


def given(arguments: argparse.Namespace, strategy: str) -> dict[str, Any]:
    """The settings of a strategy that were given, by name."""
    values = {o.name: getattr(arguments, o.dest) for o in OPTIONS if o.strategy == strategy}
    return {name: value for name, value in values.items() if value is not None}


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
    if has_target and not set(strategies) & {*SOLVED, AUTO}:
        raise ValueError("--speedup and --budget are for auto, toprovar, fastvar and skipvar, not "
                         f"for {', '.join(strategies)}")
    for option in OPTIONS:
        if getattr(arguments, option.dest) is None:
            continue
        if option.strategy not in strategies:
            raise ValueError(f"{option.flag} is an option of {option.strategy}, which is not what "
                             f"runs here ({', '.join(strategies)})")
        if has_target and option.name in SOLVED[option.strategy]:
            raise ValueError(f"{option.flag} is what --speedup and --budget decide: give one or "
                             "the other")
    if has_target and arguments.toprovar_dimensions in ("scale", "fixed_exit"):
        raise ValueError(f"--dimensions {arguments.toprovar_dimensions} leaves scales out whole: "
                         "there is nothing that --speedup or --budget could decide")
    for strategy in strategies:
        _settings(arguments, strategy)


def _settings(arguments: argparse.Namespace, strategy: str) -> dict[str, Any]:
    """What the options of a strategy say, for ``planning.make_plan``; files are read, but not yet
    held against a model."""
    own = given(arguments, strategy)
    more: dict[str, Any] = {}
    if strategy == "toprovar":
        from pydantic import ValidationError

        from ..entropy.calibration import Calibration
        from ..sparsity.strategies.toprovar import ToProVarSettings

        try:
            more["settings"] = ToProVarSettings(
                **{k: v for k, v in own.items() if k not in NOT_SETTINGS}
            )
        except ValidationError as error:
            raise ValueError(_told(error)) from None
        if "calibration" in own:
            more["calibration"] = Calibration.load(own["calibration"])
    elif strategy == "fastvar" and "drop" in own:
        more["drop"] = [share("--drop", each) for each in _numbers(own["drop"])]
    elif strategy == "skipvar":
        if "decisions" in own:
            from ..sparsity.strategies.skipvar_decision import DecisionModels

            if "skip" in own or "uncond" in own:
                raise ValueError("--skip and --uncond fix the policy that --decisions would take: "
                                 "give one or the other")
            more["decisions"] = DecisionModels.load(own["decisions"])
        for name in ("skip", "uncond"):
            if name in own:
                more[name] = whole(f"--{name}", own[name], 0, 3)
        if more.get("skip") and more.get("uncond"):
            raise ValueError("SkipVAR either skips scales or drops guidance: give --skip or "
                             "--uncond, not both")
    return more


def build_plan(
    arguments: argparse.Namespace, pipeline: InfinityPipeline, schedule: ScaleSchedule,
    strategy: str, cost_model: CostModel | None = None, guided: bool = True,
    planned: str | None = None,
) -> SparsityPlan | Director:
    """The plan or strategy that the options ask for (``planning.make_plan``).

    Args:
        planned: in place of ``--planned``.
    """
    from ..planning import make_plan

    more = _settings(arguments, strategy)
    if strategy == "toprovar":
        more["planned"] = planned or given(arguments, strategy).get("planned") or "run"
        if "calibration" in more:
            _check_calibration(arguments.toprovar_calibration, more["calibration"], pipeline)
    target = {} if strategy == "dense" else {
        "speedup": arguments.speedup, "budget": arguments.budget,
    }
    return make_plan(pipeline, strategy, schedule, cost_model=cost_model, guided=guided, **target,
                     **more)


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
    own = given(arguments, arguments.plan)
    for name in ("calibration", "decisions"):
        if name in own:
            own[name] = Path(own[name]).name
    target = {name: getattr(arguments, name) for name in ("speedup", "budget")
              if getattr(arguments, name) is not None}
    return {"plan": Path(arguments.plan).name, **target, **own}


def saved_plan(asked: str | None) -> SparsityPlan | None:
    """The plan that ``--plan`` names a file of; None where it names a strategy, or nothing."""
    if asked is None or asked in (*STRATEGIES, AUTO):
        return None
    if not Path(asked).is_file():
        raise ValueError(f"no strategy and no file is called {asked!r}: expected one of "
                         f"{', '.join(STRATEGIES)}, {AUTO}, or a file of 'toprovar plan make'")
    return read_plan(asked)


def read_plan(path: str | Path) -> SparsityPlan:
    """A plan file, or the plan that a picture of ``toprovar generate`` was made with."""
    from ..sparsity.plan_file import load_plan, load_plan_of_picture

    picture = Path(path).suffix.lower() == ".png"
    return load_plan_of_picture(path) if picture else load_plan(path)


def _check_calibration(path: str, found: Calibration, pipeline: InfinityPipeline) -> None:
    """Hold a calibration against the model, and let plans find the shortcuts beside it."""
    from ..models.fingerprint import model_fingerprint
    from ..sparsity.shortcuts import Shortcuts, register_shortcuts

    depth, own = pipeline.transformer.shape.depth, model_fingerprint(pipeline.transformer)
    if found.depth != depth:
        raise ValueError(f"{path}: calibrates a model of {found.depth} layers, this one has "
                         f"{depth}: make one with 'toprovar analyze --calibrate FILE'")
    if found.model != own:
        print(printable(f"note: {path} calibrates other weights ({found.model}, these are {own})"),
              file=sys.stderr)
    beside = Path(path).with_suffix(".safetensors")
    if found.shortcuts and beside.is_file():
        register_shortcuts(Shortcuts.load(beside))


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--drop must look like 0.4,0.5,1,1, got {text!r}") from None


def _told(error: Any) -> str:
    """The first fault of toprovar's settings, by the option's name."""
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    flag = next(o.flag for o in OPTIONS
                if o.strategy == "toprovar" and o.name == str(first["loc"][0]))
    return f"{flag}: {message}, got {first['input']!r}"

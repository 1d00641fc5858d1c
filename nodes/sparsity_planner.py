"""Sparsity Planner."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from ..toprovar.plan_edits import edits_error
from ..toprovar.sparsity.strategies.registry import default_strategy, get_strategy
from .support import planning as p
from .support.host import io
from .support.schema import Model, Plan, Size, Trace, advanced, schema
from .support.sizes import AUTO, aspects, budgets, choose_schedule, size_error
from .support.strategy_inputs import (
    STRATEGIES,
    checked,
    later_inputs,
    settings_from,
    strategy_inputs,
)

if TYPE_CHECKING:
    from ..toprovar.schedules import ScaleSchedule
    from .support.infinity import Infinity, PlanChoice
    from .support.traces import Traced

_ABSENT = object()


class SparsityPlanner(io.ComfyNode):
    """What a run leaves out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ToProVAR_SparsityPlanner", "Sparsity Planner",
            description="Plans which tokens, layers and scales a run leaves out, by one of several "
                        "strategies, and predicts what that saves. All work without a "
                        "calibration of the model too. Inputs named after another strategy are "
                        "not used.",
            search_aliases=["acceleration", "speed up", "faster", "pruning", *STRATEGIES],
            inputs=_inputs(),
            outputs=[
                Plan.Output(display_name="plan", tooltip="For the sampler, and for Save Plan."),
                io.Image.Output(display_name="picture",
                                tooltip="The plan: scales down, layers across, dark = all "
                                        "tokens kept."),
                io.String.Output(display_name="table", tooltip="The plan in words."),
            ],
        )

    @classmethod
    def validate_inputs(cls, **values: Any) -> bool | str:
        values = {name: value for name, value in values.items() if value is not None}
        if wrong := size_error(values.get("aspect", "1:1"), values.get("pixels", AUTO)) \
                or edits_error(values.get("edits", "")):
            return wrong
        strategy, target = values.get("strategy"), values.get("target")
        speedup, budget = values.get("speedup"), values.get("budget")
        if isinstance(strategy, str) and strategy not in STRATEGIES:
            return f"strategy must be one of {', '.join(STRATEGIES)}, got {strategy!r}"
        if isinstance(target, str) and target not in p.TARGETS:
            return f"target must be one of {', '.join(p.TARGETS)}, got {target!r}"
        if target == p.SPEEDUP and isinstance(speedup, (int, float)) and not speedup >= 1:
            return f"speedup must be 1 or more (1.5 = one and a half times as fast), got {speedup}"
        if target == p.BUDGET and isinstance(budget, (int, float)) and not 0 < budget <= 1:
            return (f"budget is a share of a dense run's work, above 0 and up to 1, got {budget}")
        if isinstance(strategy, str) and isinstance(target, str):
            try:
                settings_from(strategy, values, target != p.MANUAL)
            except ValueError as error:
                return str(error)
        return True

    @classmethod
    def check_lazy_status(cls, strategy: str, target: str, plan: PlanChoice | None = None,
                          trace: object = _ABSENT, **values: Any) -> list[str]:
        """The analyzer behind ``trace`` runs only where its trace decides something."""
        if plan is not None or trace is not None:
            return []
        return ["trace"] if p.wants_trace(strategy, target, values) else []

    @classmethod
    def execute(
        cls, model: Infinity, strategy: str, target: str, speedup: float, budget: float,
        aspect: str, pixels: str, guided: bool, edits: str, size: ScaleSchedule | None = None,
        plan: PlanChoice | None = None, trace: Traced | None = None, **values: Any,
    ) -> io.NodeOutput:
        from .support.pictures import plan_image

        choice = plan if plan is not None else p.make_choice(
            model, choose_schedule(size, aspect, pixels, model.default_pn), strategy, target,
            speedup, budget, guided, values, trace)
        before, choice = choice, p.edited(choice, edits, model, guided)
        text = p.described(choice)
        return io.NodeOutput(choice, plan_image(choice, text), text, ui={
            "toprovar_plan": [p.told(choice)], "toprovar_unedited": [p.told(before)],
            "toprovar_counted": [p.counted(model, guided)], "text": [text],
        })


def _name_checked() -> None:
    """ComfyUI hands over what the signature names, and does not check that itself: numbers and
    choices of the other inputs it does."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    named = ("strategy", "target", "speedup", "budget", "aspect", "pixels", "edits", *checked())
    SparsityPlanner.validate_inputs.__func__.__signature__ = inspect.Signature(
        [inspect.Parameter("cls", kind),
         *(inspect.Parameter(name, kind, default=None) for name in named)])


def _inputs() -> list[io.Input]:
    return [
        Model.Input("model", tooltip="The model that is planned for."),
        io.Combo.Input(
            "strategy", options=STRATEGIES, default=default_strategy(),
            tooltip=" ".join(f"{name}: {get_strategy(name).summary}." for name in STRATEGIES)),
        io.Combo.Input(
            "target", options=p.TARGETS, default=p.MANUAL,
            tooltip="manual: the strategy's own inputs decide. speed-up and compute budget: the "
                    "strategy is turned up until it is met."),
        io.Float.Input("speedup", default=1.5, min=1.0, max=10.0, step=0.05,
                       tooltip="With target speed-up: how many times as fast, by timing a few "
                               "blocks on this device (once, a few seconds)."),
        io.Float.Input("budget", default=0.6, min=0.05, max=1.0, step=0.05,
                       tooltip="With target compute budget: share of a dense run's work."),
        io.Combo.Input("aspect", options=list(aspects()), default="1:1",
                       tooltip="Width to height, where no size is connected."),
        io.Combo.Input("pixels", options=[AUTO, *budgets()], default=AUTO,
                       tooltip="Pixel budget, where no size is connected. auto: the model's own."),
        *strategy_inputs(1),
        advanced(io.Boolean.Input("guided", default=True,
                                  tooltip="Predict the cost of a run with guidance (cfg other "
                                          "than 1).")),
        advanced(io.String.Input("edits", default="", multiline=True, socketless=True,
                                 tooltip="Changes made to the grid, as JSON; kept in the "
                                         "workflow. Empty = none. See the help page.")),
        Size.Input("size", optional=True, tooltip="From Infinity Size."),
        Plan.Input("plan", optional=True,
                   tooltip="Edit this plan (from Load Plan) instead of making one; strategy and "
                           "the inputs below it are not used then."),
        Trace.Input("trace", optional=True, lazy=True,
                    tooltip="From Entropy Analyzer, instead of the model's calibration. Asked "
                            "for only by toprovar planned before the run."),
        *later_inputs(),
    ]


_name_checked()

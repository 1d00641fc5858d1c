"""Sparsity Planner."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from ..toprovar.plan_edits import edits_error
from ..toprovar.sparsity.strategies.registry import default_strategy, get_strategy
from .support import planning as p
from .support.dynamic import DYNAMIC, choice, with_layout
from .support.host import io
from .support.schema import Model, Plan, Size, Trace, advanced, hidden, schema
from .support.sizes import AUTO, aspects, budgets, choose_schedule
from .support.sockets import checked
from .support.strategy_inputs import STRATEGIES, inputs_of, later_inputs, strategy_inputs

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
            description="Plans which tokens, layers and scales a run leaves out, and predicts how "
                        "much work that saves. Choose one of several strategies. All of them also "
                        "work on a model without a calibration. Inputs that carry another "
                        "strategy's name are not used.",
            has_intermediate_output=True, accept_all_inputs=True,
            search_aliases=["acceleration", "speed up", "faster", "pruning", *STRATEGIES],
            inputs=_inputs(),
            outputs=[
                Plan.Output(display_name="plan", tooltip="Connect it to the sampler or to Save "
                                                         "Plan."),
                io.Image.Output(display_name="picture",
                                tooltip="A picture of the plan: scales from top to bottom, layers "
                                        "from left to right. Dark = all tokens are kept."),
                io.String.Output(display_name="table", tooltip="The plan in words."),
            ],
        )

    @classmethod
    def validate_inputs(cls, edits: str = "", **_: Any) -> bool | str:
        """ComfyUI checks numbers and choices itself. It reports what is said here once for every
        input that is named here, so settings that do not go together are refused by ``execute``."""
        return edits_error(edits or "") or True

    # By this ComfyUI knows what is checked here. It hands over groups of dynamic inputs as well.
    validate_inputs.__func__.__signature__ = inspect.Signature([  # type: ignore[attr-defined]  # of the function below the decorator
        inspect.Parameter("cls", inspect.Parameter.POSITIONAL_OR_KEYWORD),
        inspect.Parameter("edits", inspect.Parameter.POSITIONAL_OR_KEYWORD, default="")])

    @classmethod
    def check_lazy_status(cls, plan: PlanChoice | None = None, trace: object = _ABSENT,
                          **values: Any) -> list[str]:
        """The analyzer behind ``trace`` runs only where its trace decides something."""
        if plan is not None or trace is not None:
            return []
        return ["trace"] if p.Asked.read(values).wants_trace else []

    @classmethod
    @checked
    def execute(
        cls, model: Infinity, aspect: str, pixels: str, guided: bool, edits: str,
        size: ScaleSchedule | None = None, plan: PlanChoice | None = None,
        trace: Traced | None = None, **values: Any,
    ) -> io.NodeOutput:
        from .support.pictures import plan_image

        choice = plan if plan is not None else p.make_choice(
            model, choose_schedule(size, aspect, pixels, model.default_pn), p.Asked.read(values),
            guided, trace)
        before, choice = choice, p.edited(choice, edits, model, guided)
        text = p.described(choice)
        return io.NodeOutput(choice, plan_image(choice, text), text, ui={
            "toprovar_plan": [p.told(choice)], "toprovar_unedited": [p.told(before)],
            "toprovar_edits": [edits], "toprovar_counted": [p.counted(model, guided)],
            "text": [text],
        })


def _inputs() -> list[io.Input]:
    model = Model.Input("model", tooltip="The model that the plan is made for.")
    speedup = io.Float.Input(
        "speedup", default=p.DEFAULT_SPEEDUP, min=1.0, max=10.0, step=0.05, optional=DYNAMIC,
        tooltip="For the target speed-up: how many times as fast as a dense run. The node times a "
                "few blocks on this device once, which takes a few seconds.")
    budget = io.Float.Input(
        "budget", default=p.DEFAULT_BUDGET, min=0.05, max=1.0, step=0.05, optional=DYNAMIC,
        tooltip="For the target compute budget: share of a dense run's work.")
    size: list[io.Input] = [
        io.Combo.Input("aspect", options=list(aspects()), default="1:1",
                       tooltip="Width to height of the picture. Not used if a size is connected."),
        io.Combo.Input("pixels", options=[AUTO, *budgets()], default=AUTO,
                       tooltip="Number of pixels. Not used if a size is connected. auto: the "
                               "model's own size."),
    ]
    last = [
        advanced(io.Boolean.Input("guided", default=True,
                                  tooltip="Predict the cost of a run with guidance (cfg other than "
                                          "1).")),
        hidden(io.String.Input("edits", default="", multiline=True, socketless=True,
                               tooltip="Changes made in the grid, as JSON. They are saved with the "
                                       "workflow. Empty = no changes. The help page shows the "
                                       "format.")),
    ]
    sockets = [
        Size.Input("size", optional=True, tooltip="The size from Infinity Size."),
        Plan.Input("plan", optional=True,
                   tooltip="Edit this plan, for instance from Load Plan, instead of making a new "
                           "one. The strategy and its inputs are then not used."),
        Trace.Input("trace", optional=True, lazy=True,
                    tooltip="Measurements of Entropy Analyzer. They replace the model's "
                            "calibration, but only for toprovar planned before the run."),
    ]
    about = {
        "strategy": " ".join(f"{name}: {get_strategy(name).summary}." for name in STRATEGIES),
        "target": "manual: the strategy's own inputs decide. speed-up, compute budget: the "
                  "strategy leaves out more until the target is reached.",
    }
    first, later = strategy_inputs(1), later_inputs()
    plain = ["strategy", "target", speedup, budget, *size, *first, *last, *later]
    groups = {
        "strategy": {name: inputs_of(name) for name in STRATEGIES},
        "target": {p.MANUAL: [], p.SPEEDUP: [speedup], p.BUDGET: [budget]},
    }
    model = with_layout(model, plain, ["strategy", "target", *size, *last], groups)
    if DYNAMIC:
        chosen = [choice(name, options, about[name]) for name, options in groups.items()]
        return [model, *chosen, *size, *last, *sockets]
    return [
        model,
        io.Combo.Input("strategy", options=STRATEGIES, default=default_strategy(),
                       tooltip=about["strategy"]),
        io.Combo.Input("target", options=p.TARGETS, default=p.MANUAL, tooltip=about["target"]),
        speedup, budget, *size, *first, *last, *sockets, *later,
    ]

"""Sparsity Planner."""

from __future__ import annotations

from typing import Any

from .support import planning as p
from .support.host import io
from .support.plan_edits import edits_error
from .support.schema import Model, Plan, Size, Trace, advanced, schema
from .support.sizes import AUTO, aspects, budgets, choose_schedule, size_error

_ABSENT = object()


class SparsityPlanner(io.ComfyNode):
    """What a run leaves out."""

    @classmethod
    def define_schema(cls) -> Any:
        return schema(
            "ToProVAR_SparsityPlanner", "Sparsity Planner",
            description="Plans which tokens, layers and scales a run leaves out, by one of four "
                        "strategies, and predicts what that saves. All work without a "
                        "calibration of the model too. Inputs named after another strategy are "
                        "not used.",
            search_aliases=["acceleration", "speed up", "faster", "fastvar", "skipvar",
                            "pruning", "toprovar"],
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
    def validate_inputs(
        cls, aspect: str = "1:1", pixels: str = AUTO, edits: str = "", strategy: str = "toprovar",
        target: str = p.MANUAL, speedup: float = 1.0, budget: float = 1.0,
        toprovar_alpha_min: float = 0.0, toprovar_alpha_max: float = 0.9, fastvar_drop: str = "1",
    ) -> bool | str:
        if wrong := size_error(aspect, pixels) or edits_error(edits):
            return wrong
        if isinstance(strategy, str) and strategy not in p.STRATEGIES:
            return f"strategy must be one of {', '.join(p.STRATEGIES)}, got {strategy!r}"
        if isinstance(target, str) and target not in (p.MANUAL, p.SPEEDUP, p.BUDGET):
            return (f"target must be one of {p.MANUAL}, {p.SPEEDUP}, {p.BUDGET}, got {target!r}")
        if target == p.SPEEDUP and isinstance(speedup, (int, float)) and not speedup >= 1:
            return f"speedup must be 1 or more (1.5 = one and a half times as fast), got {speedup}"
        if target == p.BUDGET and isinstance(budget, (int, float)) and not 0 < budget <= 1:
            return (f"budget is a share of a dense run's work, above 0 and up to 1, got {budget}")
        for name, value in (("min", toprovar_alpha_min), ("max", toprovar_alpha_max)):
            if isinstance(value, (int, float)) and not 0 <= value <= 1:
                return f"toprovar_alpha_{name} must lie between 0 and 1, got {value}"
        both = isinstance(toprovar_alpha_min, float) and isinstance(toprovar_alpha_max, float)
        if strategy == "toprovar" and both and toprovar_alpha_min > toprovar_alpha_max:
            return (f"toprovar_alpha_min ({toprovar_alpha_min}) is above toprovar_alpha_max "
                    f"({toprovar_alpha_max}): lower the one or raise the other")
        if strategy == "fastvar" and isinstance(fastvar_drop, str):
            try:
                p.parse_drop(fastvar_drop)
            except ValueError as error:
                return str(error)
        return True

    @classmethod
    def check_lazy_status(cls, strategy: str, toprovar_planned: str, plan: Any = None,
                          trace: Any = _ABSENT, **_: Any) -> list[str]:
        """The analyzer behind ``trace`` runs only where its trace decides something."""
        wanted = plan is None and strategy == "toprovar" and toprovar_planned == p.BEFORE
        return ["trace"] if wanted and trace is None else []

    @classmethod
    def execute(
        cls, model: Any, strategy: str, target: str, speedup: float, budget: float, aspect: str,
        pixels: str, toprovar_planned: str, toprovar_start_scale: int, fastvar_drop: str,
        skipvar_policy: str, skipvar_scales: int, guided: bool, edits: str, size: Any = None,
        plan: Any = None, trace: Any = None, **others: Any,
    ) -> Any:
        from .support.pictures import plan_image

        if plan is not None:
            choice = plan
        else:
            settings = {k.removeprefix("toprovar_"): v for k, v in others.items()}
            settings["start_scale"] = toprovar_start_scale or None
            if settings.get("dropped") == p.CALIBRATED:
                settings["dropped"] = None
            if settings.get("unconditional_off", 0) < 0:
                settings["unconditional_off"] = None
            choice = p.make_choice(
                model, choose_schedule(size, aspect, pixels, model.default_pn), strategy, target,
                speedup, budget, guided, settings, toprovar_planned, fastvar_drop, skipvar_policy,
                skipvar_scales, trace,
            )
        before, choice = choice, p.edited(choice, edits, model, guided)
        text = p.described(choice)
        return io.NodeOutput(choice, plan_image(choice, text), text, ui={
            "toprovar_plan": [p.told(choice)], "toprovar_unedited": [p.told(before)],
            "toprovar_prices": [p.prices(model, guided)], "text": [text],
        })


def _inputs() -> list[Any]:
    return [
        Model.Input("model", tooltip="The model that is planned for."),
        io.Combo.Input(
            "strategy", options=p.STRATEGIES, default="toprovar",
            tooltip="toprovar: attention entropy says what needs no work. fastvar: fixed shares "
                    "on the last scales. skipvar: last scales, or their guidance, left out. "
                    "dense: nothing is left out."),
        io.Combo.Input(
            "target", options=[p.MANUAL, p.SPEEDUP, p.BUDGET], default=p.MANUAL,
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
        io.Combo.Input(
            "toprovar_planned", options=[p.IN_RUN, p.BEFORE], default=p.IN_RUN,
            tooltip="One plan for all pictures, by the model's calibration or the prior. Only "
                    "where dropped tokens get identity or cached does in the run differ: each "
                    "picture is planned by its own entropies, on its early scales. before the "
                    "run also takes a trace."),
        io.Float.Input("toprovar_alpha_min", default=0.0, min=0.0, max=1.0, step=0.05,
                       tooltip="Share of tokens dropped in Global layers."),
        io.Float.Input("toprovar_alpha_max", default=0.9, min=0.0, max=1.0, step=0.05,
                       tooltip="Share of tokens dropped in Detail layers at the last scale."),
        io.Int.Input("toprovar_start_scale", default=0, min=0, max=14,
                     tooltip="First scale that is pruned. 0 = by calibration or prior, or found "
                             "in the run."),
        io.String.Input("fastvar_drop", default="0.4, 0.5, 1, 1",
                        tooltip="Share of tokens dropped on the last scales; 1 = not run."),
        io.Combo.Input("skipvar_policy", options=[p.SKIP, p.UNGUIDED, p.ADAPTIVE],
                       default=p.SKIP,
                       tooltip="adaptive decides inside the run, by a model fitted to these "
                               "weights (toprovar fit-skipvar); without one it does not run the "
                               "last scale."),
        io.Int.Input("skipvar_scales", default=1, min=0, max=3,
                     tooltip="How many scales at the end the fixed policies are about."),
        advanced(io.Combo.Input("toprovar_dropped",
                                options=[p.CALIBRATED, "identity", "cached", "exit"],
                                default=p.CALIBRATED,
                                tooltip="What dropped tokens get. identity: nothing, as "
                                        "published. cached: the update of an earlier scale, "
                                        "resized. exit: they leave the scale and add nothing to "
                                        "the picture. by calibration: what suits the model; "
                                        "without one exit, by the prior.")),
        advanced(io.Combo.Input("toprovar_resize", options=["bilinear", "area", "nearest"],
                                default="bilinear",
                                tooltip="How such updates are resized.")),
        advanced(io.Combo.Input(
            "toprovar_rule", options=["entropy", "entropy_reversed", "variance", "random"],
            default="entropy", tooltip="Which tokens are kept. entropy is the method; the others "
                                       "are for comparison.")),
        advanced(io.Combo.Input(
            "toprovar_dimensions",
            options=["all", "scale+token", "scale+layer", "scale", "fixed_exit"], default="all",
            tooltip="Leaves dimensions of the method out, to see what each gives.")),
        advanced(io.Int.Input("toprovar_region", default=8, min=0, max=64,
                              tooltip="Side, in tokens, of the regions that keep a minimum; 0 = "
                                      "none.")),
        advanced(io.Float.Input("toprovar_min_share", default=0.25, min=0.0, max=1.0, step=0.05,
                                tooltip="That minimum, as a share of an even spread.")),
        advanced(io.Int.Input("toprovar_tile", default=16, min=1, max=256,
                              tooltip="Token counts are rounded up to a multiple of this.")),
        advanced(io.Int.Input("toprovar_unconditional_off", default=-1, min=-1, max=14,
                              tooltip="Scales at the end that run without guidance. -1 = by "
                                      "calibration or prior.")),
        advanced(io.Int.Input("toprovar_seed", default=0, min=0, max=(1 << 53) - 1,
                              control_after_generate=False,
                              tooltip="Of the rule random.")),
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
    ]

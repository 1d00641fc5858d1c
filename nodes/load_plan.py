"""Load Plan."""

from __future__ import annotations

from .support.host import io
from .support.kept_files import PLANS
from .support.schema import Plan, schema


class LoadPlan(io.ComfyNode):
    """A plan from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        known = list(PLANS.files()) or [PLANS.none]
        return schema(
            "ToProVAR_LoadPlan", "Load Plan",
            description=f"Reads a plan from the folder {PLANS.folder} in ComfyUI's output or input "
                        "folder. A plan works with any prompt and seed, for the model shape and "
                        "picture size that it was made for.",
            search_aliases=["import plan", "json", "toprovar"],
            has_intermediate_output=True,
            inputs=[io.Combo.Input(
                "file", options=known, default=known[0],
                tooltip="The newest file is listed first. Press R after you have saved or copied "
                        "one.")],
            outputs=[
                Plan.Output(display_name="plan",
                            tooltip="Connect it to the sampler, or to the planner to edit it."),
                io.String.Output(display_name="table", tooltip="The plan in words."),
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str = PLANS.none) -> bool | str:
        return PLANS.choice_error(file) or True

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        return PLANS.digest(file)

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        from ..toprovar.schedules import find_schedule
        from ..toprovar.sparsity.plan_file import load_plan
        from .support.infinity import PlanChoice
        from .support.planning import described, told

        plan = load_plan(PLANS.path(file))
        choice = PlanChoice(plan, find_schedule([step.grid for step in plan.scales]))
        text = described(choice)
        return io.NodeOutput(choice, text, ui={"toprovar_plan": [told(choice)], "text": [text]})

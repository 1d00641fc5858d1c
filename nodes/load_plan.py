"""Load Plan."""

from __future__ import annotations

from .support.host import io
from .support.plan_files import NONE, SUBFOLDER, digest, plan_files
from .support.schema import Plan, schema


class LoadPlan(io.ComfyNode):
    """A plan from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        known = list(plan_files()) or [NONE]
        return schema(
            "ToProVAR_LoadPlan", "Load Plan",
            description=f"Reads a plan from the folder {SUBFOLDER} of ComfyUI's output or input "
                        "folder. It serves any prompt and seed, for the model shape and size it "
                        "was made for.",
            search_aliases=["import plan", "json", "toprovar"],
            has_intermediate_output=True,
            inputs=[io.Combo.Input(
                "file", options=known, default=known[0],
                tooltip="Newest first. Press R after saving or copying one.")],
            outputs=[
                Plan.Output(display_name="plan",
                            tooltip="For the sampler, or for the planner to edit."),
                io.String.Output(display_name="table", tooltip="The plan in words."),
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str = NONE) -> bool | str:
        known = plan_files()
        if file is None or file in known:  # None: it comes over a link
            return True
        where = f"the folder {SUBFOLDER} of ComfyUI's output or input folder"
        if not known:
            return f"there is no plan in {where}: make one with Save Plan, or copy one there"
        return f"there is no plan {file!r} in {where} (any more): choose one of {', '.join(known)}"

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        path = plan_files().get(file)
        return digest(path) if path else ""

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        from ..toprovar.schedules import find_schedule
        from ..toprovar.sparsity.plan_file import load_plan
        from .support.infinity import PlanChoice
        from .support.planning import described, told

        path = plan_files().get(file)
        if path is None:
            raise ValueError(f"the plan {file!r} is not there any more: choose another")
        plan = load_plan(path)
        choice = PlanChoice(plan, find_schedule([step.grid for step in plan.scales]))
        text = described(choice)
        return io.NodeOutput(choice, text, ui={"toprovar_plan": [told(choice)], "text": [text]})

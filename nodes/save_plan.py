"""Save Plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .support.host import io
from .support.kept_files import PLANS
from .support.schema import Plan, schema
from .support.sockets import checked

if TYPE_CHECKING:
    from .support.infinity import PlanChoice


class SavePlan(io.ComfyNode):
    """A plan to a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ToProVAR_SavePlan", "Save Plan",
            description="Writes a plan as a JSON file into ComfyUI's output folder. You can share "
                        "the file. Load Plan and 'toprovar generate --plan' read it.",
            search_aliases=["export plan", "json", "toprovar"],
            inputs=[
                Plan.Input("plan", tooltip="The plan from Sparsity Planner, or the sampler's "
                                           "output used plan."),
                io.String.Input("filename_prefix", default=f"{PLANS.folder}/plan",
                                tooltip="Name of the file in the output folder. A number is "
                                        "added. Load Plan lists the files in "
                                        f"{PLANS.folder}/."),
            ],
            outputs=[io.String.Output(display_name="file", tooltip="Where the file was written.")],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, filename_prefix: str = PLANS.folder) -> bool | str:
        if not isinstance(filename_prefix, str):
            return True
        return PLANS.prefix_error(filename_prefix) or True

    @classmethod
    @checked
    def execute(cls, plan: PlanChoice, filename_prefix: str) -> io.NodeOutput:
        from ..toprovar.sparsity.plan_file import save_plan

        if plan.fixed is None:
            raise ValueError("this plan is made anew inside every run: save the sampler's used "
                             "plan instead, or set the planner's toprovar_planned to 'before the "
                             "run'")
        path, name = PLANS.next_path(filename_prefix)
        save_plan(plan.fixed, path)
        return io.NodeOutput(str(path), ui={"text": [f"saved {name}"]})

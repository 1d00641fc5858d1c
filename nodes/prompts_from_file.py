"""Prompts from File."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .support.batches import CONNECTED, EXAMPLE, SHOWN, folder_error, row_files
from .support.host import io
from .support.sampler_inputs import LARGEST_SEED
from .support.schema import Model, Plan, Size, TextEncoder, advanced, schema
from .support.sizes import AUTO, aspects, budgets, choose_schedule

if TYPE_CHECKING:
    from ..toprovar.schedules import ScaleSchedule
    from .support.infinity import Infinity, PlanChoice
    from .support.infinity import TextEncoder as Encoder

FORMATS = ["png", "jpg", "webp"]


class PromptsFromFile(io.ComfyNode):
    """A file of prompts to a folder of pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ToProVAR_PromptsFromFile", "Prompts from File",
            description="Draws every row of a text, CSV or JSON Lines file in the input folder. "
                        "Each picture is saved as soon as it is finished, together with its row. "
                        "Run the node again to continue where it was stopped.",
            search_aliases=["csv", "batch", "prompt list", "many prompts", "jsonl", "toprovar"],
            inputs=_inputs(),
            outputs=[
                io.String.Output(display_name="folder", tooltip="Where the pictures and "
                                                                "manifest.jsonl are."),
                io.String.Output(display_name="summary",
                                 tooltip="How many pictures were drawn, which rows failed, and "
                                         "why."),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, file: str = EXAMPLE, folder: str = "x") -> bool | str:
        known = row_files()
        if isinstance(folder, str) and (wrong := folder_error(folder)):
            return wrong
        if file is None or file in known:  # None: it comes over a link
            return True
        return (f"there is no file {file!r} with prompts in ComfyUI's input folder: put a .txt, "
                ".csv or .jsonl file there and press R")

    @classmethod
    def fingerprint_inputs(cls, **_: object) -> float:
        return float("nan")  # what is not drawn yet is drawn by every run

    @classmethod
    def execute(
        cls, model: Infinity, text_encoder: Encoder, file: str, folder: str, seed: int, aspect: str,
        pixels: str, cfg: float, tau: float, top_p: float, format: str, prompt_weights: bool,
        retry_failed: bool, plan: PlanChoice | None = None, size: ScaleSchedule | None = None,
    ) -> io.NodeOutput:
        from ..toprovar.batch.jobs import Settings
        from .support.batches import NodeSource, comfyui_chunks, draw_file

        path = row_files().get(file)
        if path is None:
            raise ValueError(f"the file {file!r} is not there any more: choose another")
        if wrong := folder_error(folder):  # may have come over a link
            raise ValueError(wrong)
        schedule = choose_schedule(size, aspect, pixels, model.default_pn,
                                   plan.schedule if plan is not None else None)
        settings = Settings(
            seed=seed, cfg=cfg or None, tau=tau or None, top_p=top_p, format=format,
            word_weights=prompt_weights, plan=AUTO if plan is None else CONNECTED)
        hidden = cls.hidden  # None where a program runs the node without a server
        chunks = {} if hidden is None else comfyui_chunks(hidden.prompt, hidden.extra_pnginfo)
        done, out = draw_file(NodeSource(infinity=model, chosen=plan, default=schedule),
                              text_encoder, path, folder, settings, retry_failed, chunks)
        summary = "\n".join([f"{done.drawn} pictures, {done.new} of them new, {done.failed} failed",
                             *(f"row {row}: {reason}" for row, reason in done.failures)])
        shown = [{"filename": name, "subfolder": folder, "type": "output"}
                 for name in done.files[-SHOWN:]]
        return io.NodeOutput(str(out), summary, ui={"images": shown, "text": [summary]})


def _inputs() -> list[io.Input]:
    files = list(row_files())
    return [
        Model.Input("model", tooltip="The model from Load Infinity."),
        TextEncoder.Input("text_encoder", tooltip="The text encoder from Load Infinity."),
        io.Combo.Input("file", options=files, default=files[0],
                       tooltip="A .txt file has one prompt a line. A .csv or .jsonl file has the "
                               "column prompt, and if you like negative, seed, size, cfg, plan and "
                               "name. Press R after you have copied one into the input folder."),
        io.String.Input("folder", default="prompts/first",
                        tooltip="A folder in the output folder, for one file and one set of "
                                "settings. Pictures that are already there are not drawn again."),
        io.Int.Input("seed", default=1, min=0, max=LARGEST_SEED, control_after_generate=False,
                     tooltip="Row i without a seed of its own is drawn from seed + i, counted from "
                             "0."),
        io.Combo.Input("aspect", options=list(aspects()), default="1:1",
                       tooltip="Width to height, for rows without a size."),
        io.Combo.Input("pixels", options=[AUTO, *budgets()], default=AUTO,
                       tooltip="Number of pixels, for rows without a size. auto: the plan's size, "
                               "or without one a square at the model's own size."),
        io.Float.Input("cfg", default=0.0, min=0.0, max=100.0, step=0.1,
                       tooltip="How strongly the prompt guides the picture, for rows without a "
                               "cfg. 0 = the model's default, 1 = no guidance."),
        io.Float.Input("tau", default=0.0, min=0.0, max=10.0, step=0.05,
                       tooltip="Temperature: low values give safe results, high values varied "
                               "ones. 0 = the model's default."),
        advanced(io.Float.Input("top_p", default=0.97, min=0.0, max=1.0, step=0.01,
                                tooltip="Leaves out unlikely values when a bit is drawn. 0 = "
                                        "off.")),
        io.Combo.Input("format", options=FORMATS, default=FORMATS[0],
                       tooltip="File format of the pictures. Only png also stores the workflow."),
        advanced(io.Boolean.Input("prompt_weights", default=True, label_on="(word:1.2) weighs",
                                  label_off="read as it stands",
                                  tooltip="On: (word:1.2) strengthens a word. Off: the text is "
                                          "encoded as it is.")),
        io.Boolean.Input("retry_failed", default=False, label_on="try failed rows again",
                         label_off="leave failed rows",
                         tooltip="Try rows again that failed before."),
        Plan.Input("plan", optional=True,
                   tooltip="The plan for rows without a plan of their own. Without it the sampler "
                           "chooses."),
        Size.Input("size", optional=True, tooltip="The size from Infinity Size. It replaces aspect "
                                                  "and pixels."),
    ]

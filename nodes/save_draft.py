"""Save Draft."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .support.host import io
from .support.kept_files import DRAFTS
from .support.schema import Draft, schema
from .support.sockets import checked

if TYPE_CHECKING:
    from .support.drafts import Drafts

SHEET, BITS = "picture that holds them", "bits alone"


class SaveDraft(io.ComfyNode):
    """Drafts to a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ToProVAR_SaveDraft", "Save Draft",
            description="Writes drafts into ComfyUI's output folder, as a PNG that shows them with "
                        "their numbers and contains their bits, or as the bits alone. You can "
                        "share the file. Load Draft and 'toprovar finish' read it.",
            search_aliases=["export draft", "contact sheet", "share", "toprovar"],
            inputs=[
                Draft.Input("drafts", tooltip="Drafts from Infinity Draft, Infinity Encode or Load "
                                              "Draft."),
                io.String.Input("filename_prefix", default=f"{DRAFTS.folder}/draft",
                                tooltip="Name of the file in the output folder. A number is "
                                        "added. Load Draft lists the files in "
                                        f"{DRAFTS.folder}/."),
                io.Combo.Input("file", options=[SHEET, BITS], default=SHEET,
                               tooltip="A PNG to look at, or a small .safetensors file."),
            ],
            outputs=[io.String.Output(display_name="file", tooltip="Where the file was written.")],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, filename_prefix: str = DRAFTS.folder) -> bool | str:
        if not isinstance(filename_prefix, str):
            return True
        return DRAFTS.prefix_error(filename_prefix) or True

    @classmethod
    @checked
    def execute(cls, drafts: Drafts, filename_prefix: str, file: str) -> io.NodeOutput:
        from ..toprovar.editing.draft_file import save_draft, save_draft_picture

        if file == BITS:
            path, name = DRAFTS.next_path(filename_prefix, ".safetensors")
            save_draft(drafts.draft, path)
        else:
            path, name = DRAFTS.next_path(filename_prefix)
            save_draft_picture(drafts.draft, path, drafts.sheet)
        return io.NodeOutput(str(path), ui={"text": [f"saved {name}"]})

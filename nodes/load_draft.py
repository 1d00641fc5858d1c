"""Load Draft."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .support import sampler_inputs as common
from .support.host import io
from .support.kept_files import DRAFTS
from .support.schema import Draft, schema
from .support.sockets import checked

if TYPE_CHECKING:
    from .support.infinity import Infinity


class LoadDraft(io.ComfyNode):
    """Drafts from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        known = list(DRAFTS.files()) or [DRAFTS.none]
        return schema(
            "ToProVAR_LoadDraft", "Load Draft",
            description=f"Reads drafts from the folder {DRAFTS.folder} in ComfyUI's output or "
                        "input folder: a file written by Save Draft or by 'toprovar draft'. Drafts "
                        "work only with the model that drew them.",
            search_aliases=["import draft", "open draft", "png", "toprovar"],
            has_intermediate_output=True,
            inputs=[
                common.model(),
                io.Combo.Input("file", options=known, default=known[0],
                               tooltip="The newest file is listed first. Press R after you have "
                                       "saved or copied one."),
            ],
            outputs=[
                Draft.Output(display_name="drafts", tooltip="Connect them to Finish Drafts, or to "
                                                            "a sampler's latent_image."),
                io.Image.Output(display_name="preview", tooltip="What the drafts look like so "
                                                                "far."),
            ],
        )

    @classmethod
    def validate_inputs(cls, file: str = DRAFTS.none) -> bool | str:
        return DRAFTS.choice_error(file) or True

    @classmethod
    def fingerprint_inputs(cls, file: str, **_: object) -> str:
        return DRAFTS.digest(file)

    @classmethod
    @checked
    def execute(cls, model: Infinity, file: str) -> io.NodeOutput:
        from ..toprovar.editing.draft_file import load_draft
        from .support.contact_sheet import shown
        from .support.drafts import seen

        drafts = seen(model, load_draft(DRAFTS.path(file)))
        return io.NodeOutput(drafts, drafts.pictures, ui=shown(drafts))

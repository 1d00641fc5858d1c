"""Infinity Text Encode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .support.host import io
from .support.schema import Conditioning, TextEncoder, schema
from .support.sockets import checked

if TYPE_CHECKING:
    from .support.infinity import TextEncoder as Encoder


class TextEncode(io.ComfyNode):
    """Prompts to text features."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ToProVAR_TextEncode", "Infinity Text Encode",
            description="Encodes a prompt for Infinity. It runs again only when the text changes. "
                        "A new seed does not encode the prompt again.",
            search_aliases=["prompt", "conditioning", "CLIP text encode", "T5", "toprovar"],
            inputs=[
                TextEncoder.Input("text_encoder", tooltip="The text encoder from Load Infinity."),
                io.String.Input(
                    "text", multiline=True, dynamic_prompts=True, default="a red apple",
                    tooltip="What to draw. The embedded model knows 48 kinds of objects and 10 "
                            "colours. The large models understand English sentences."),
                io.Boolean.Input(
                    "prompt_per_line", default=False, label_on="one a line",
                    label_off="one prompt",
                    tooltip="On: every line that is not empty is a prompt of its own, and the "
                            "sampler draws a picture for each line."),
                io.Boolean.Input(
                    "prompt_weights", default=True, optional=True, label_on="(word:1.2)",
                    label_off="plain text",
                    tooltip="On: (word:1.2) strengthens a word, (word:0.5) weakens it, and (word) "
                            "means 1.1. Write a backslash before a bracket to keep it as text. "
                            "embedding:name and BREAK are removed, and the node says so. Off: the "
                            "text is encoded as it is."),
            ],
            outputs=[Conditioning.Output(display_name="conditioning",
                                         tooltip="Connect it to the sampler or the analyzer.")],
        )

    @classmethod
    def validate_inputs(cls, text: str = "", prompt_per_line: bool = False) -> bool | str:
        if prompt_per_line and isinstance(text, str) and not text.strip():
            return "there is no prompt: write one on each line, or turn prompt_per_line off"
        return True

    @classmethod
    @checked
    def execute(cls, text_encoder: Encoder, text: str, prompt_per_line: bool,
                prompt_weights: bool = True) -> io.NodeOutput:
        from .support.notes import shown_notes

        prompts = [text]
        if prompt_per_line:
            prompts = [line.strip() for line in text.splitlines() if line.strip()]
            if not prompts:  # a text that came over a link was not there to be validated
                raise ValueError("there is no prompt: write one on each line")
        found = text_encoder.encode(prompts, prompt_weights)
        notes = [f"The prompt {note}." for note in found.features.notes]
        return io.NodeOutput(found, ui=shown_notes(notes))

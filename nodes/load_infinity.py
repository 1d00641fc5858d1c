"""Load Infinity."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .support import files
from .support.host import io
from .support.schema import Model, TextEncoder, advanced, schema

DTYPES = ["auto", "float32", "bfloat16", "float16"]
FAMILIES = ["auto", "infinity", "varedit"]
BACKENDS = ["auto", "flash", "efficient", "cudnn", "math"]
MEMORY = ["auto", "exact", "8-bit", "6GB", "8GB", "12GB", "16GB", "24GB",
          # what was offered earlier, in workflows that were saved
          "fast", "8-bit cache", "8-bit weights", "8-bit weights and cache"]


class LoadInfinity(io.ComfyNode):
    """A model, its text encoder and its VAE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "ToProVAR_LoadInfinity", "Load Infinity",
            description="Loads an Infinity text-to-image model: the small one in the box, or "
                        "what lies in models/infinity (a folder made by 'toprovar convert', or "
                        "the official files together with a VAE and flan-t5-xl).",
            search_aliases=["infinity", "toprovar", "VAR", "autoregressive", "checkpoint",
                            "load model"],
            inputs=[
                io.Combo.Input(
                    "model", options=list(files.models()), default=files.EMBEDDED,
                    tooltip="The embedded model needs no download. Others: folders and files in "
                            "models/infinity, and Infinity folders in models/diffusers."),
                io.Combo.Input(
                    "vae", options=list(files.vaes()), default=files.OWN,
                    tooltip="Official transformer files need their VAE: a file in "
                            "models/infinity or models/vae. Folders bring their own."),
                io.Combo.Input(
                    "text_encoder", options=list(files.text_encoders()), default=files.OWN,
                    tooltip="Official transformer files need flan-t5-xl: one .safetensors file or "
                            "a folder in models/text_encoders. Folders bring their own."),
                advanced(io.Combo.Input(
                    "dtype", options=DTYPES, default="auto",
                    tooltip="Precision of the weights. auto: what ComfyUI was started with "
                            "(--fp16-unet, ...), else bfloat16 on a GPU that has it, float16 on "
                            "others, float32 on a CPU.")),
                advanced(io.Combo.Input(
                    "attention", options=BACKENDS, default="auto",
                    tooltip="Which of torch's attention kernels is used. auto lets torch choose; "
                            "another choice helps to compare or to avoid a broken one.")),
                advanced(io.Combo.Input(
                    "memory", options=MEMORY, default=MEMORY[0], optional=True,
                    tooltip="auto fits every card: what has no room on the GPU waits in the "
                            "computer's memory, and only where that is not enough numbers of 8 "
                            "bits are used, which change pictures a little. exact: never those. "
                            "8-bit: also where they only save time. 6GB ... 24GB: as auto, on a "
                            "GPU of that size. fast is auto; 8-bit cache and 8-bit weights (RTX "
                            "40 series on) always keep these in 8 bits.")),
                advanced(io.Combo.Input(
                    "family", options=FAMILIES, default=FAMILIES[0], optional=True,
                    tooltip="What a transformer was trained for; the files of both look the same. "
                            "infinity draws from text. varedit edits pictures by an instruction, "
                            "for Infinity Instruct. auto: what the folder says, else infinity.")),
            ],
            outputs=[
                Model.Output(display_name="model", tooltip="For the sampler, the planner and the "
                                                           "analyzer."),
                TextEncoder.Output(display_name="text encoder",
                                   tooltip="For Infinity Text Encode."),
                io.Vae.Output(display_name="vae",
                              tooltip="For ComfyUI's own VAE Decode and VAE Encode."),
            ],
        )

    @classmethod
    def validate_inputs(cls, model: str = files.EMBEDDED) -> bool | str:
        """ComfyUI reports what is said here once for every input that is named here, so the others
        are looked at by ``execute``."""
        # None: it comes over a link
        return True if model is None else _unknown("model", model, files.models()) or True

    @classmethod
    def fingerprint_inputs(cls, model: str, vae: str, text_encoder: str, **_: Any) -> str:
        return " ".join(
            files.state_of(known.get(chosen)) for chosen, known in (
                (model, files.models()), (vae, files.vaes()),
                (text_encoder, files.text_encoders()),
            )
        )

    @classmethod
    def execute(cls, model: str, vae: str, text_encoder: str, dtype: str, attention: str,
                memory: str = MEMORY[0], family: str = FAMILIES[0]) -> io.NodeOutput:
        from .support.launch import without_effect
        from .support.loading import load_infinity
        from .support.notes import shown_notes

        if wrong := _wrong(model, vae, text_encoder):
            raise ValueError(wrong)
        loaded, text = load_infinity(
            model, files.models()[model], files.vaes()[vae], files.text_encoders()[text_encoder],
            dtype, attention, memory, None if family == FAMILIES[0] else family,
        )
        return io.NodeOutput(loaded, text, loaded.vae, ui=shown_notes(without_effect()))


def _unknown(what: str, chosen: str, known: Iterable[str]) -> str | None:
    """What to do about a choice that is not there, in words."""
    if chosen in known:
        return None
    return (f"there is no {what} {chosen!r} in models/infinity (any more): choose another, or put "
            f"it there and press R. Found: {', '.join(known)}")


def _wrong(model: str, vae: str, text_encoder: str) -> str | None:
    """Why these cannot be loaded together, in words."""
    models = files.models()
    for what, chosen, known in (("model", model, models), ("VAE", vae, files.vaes()),
                                ("text encoder", text_encoder, files.text_encoders())):
        if wrong := _unknown(what, chosen, known):
            return wrong
    path = models[model]
    if path is None or files.is_pipeline(path):
        return None
    missing = [what for what, chosen in (("vae", vae), ("text_encoder", text_encoder))
               if chosen == files.OWN]
    return (f"{model} is a transformer alone: choose its {' and '.join(missing)} too, or make a "
            "whole folder of all three with 'toprovar convert'") if missing else None

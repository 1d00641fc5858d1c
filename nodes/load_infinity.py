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
            description="Loads an Infinity text-to-image model with its text encoder and VAE. The "
                        "small embedded model needs no download. Other models are read from "
                        "models/infinity: a folder made by 'toprovar convert', or the official "
                        "files together with their VAE and flan-t5-xl.",
            search_aliases=["infinity", "toprovar", "VAR", "autoregressive", "checkpoint",
                            "load model"],
            inputs=[
                io.Combo.Input(
                    "model", options=list(files.models()), default=files.EMBEDDED,
                    tooltip="The embedded model needs no download. Other entries are folders and "
                            "files in models/infinity, and Infinity folders in models/diffusers."),
                io.Combo.Input(
                    "vae", options=list(files.vaes()), default=files.OWN,
                    tooltip="An official transformer file needs its VAE: a file in models/infinity "
                            "or models/vae. A folder made by 'toprovar convert' brings its own."),
                io.Combo.Input(
                    "text_encoder", options=list(files.text_encoders()), default=files.OWN,
                    tooltip="An official transformer file needs flan-t5-xl: one .safetensors file "
                            "or a folder in models/text_encoders. A folder made by 'toprovar "
                            "convert' brings its own."),
                advanced(io.Combo.Input(
                    "dtype", options=DTYPES, default="auto",
                    tooltip="Precision of the weights. auto follows the options that ComfyUI was "
                            "started with, such as --fp16-unet. Without such an option it is "
                            "bfloat16 on a GPU that supports it, float16 on other GPUs, and "
                            "float32 on a CPU.")),
                advanced(io.Combo.Input(
                    "attention", options=BACKENDS, default="auto",
                    tooltip="Which of PyTorch's attention kernels is used. auto lets PyTorch "
                            "choose. Choose another one to compare kernels or to avoid a broken "
                            "one.")),
                advanced(io.Combo.Input(
                    "memory", options=MEMORY, default=MEMORY[0], optional=True,
                    tooltip="auto fits the model to any card: parts that do not fit on the GPU "
                            "wait in the computer's memory. Only if that is not enough, it stores "
                            "numbers in 8 bits, which changes pictures a little. exact: never use "
                            "8 bits. 8-bit: use 8 bits also to save time. 6GB ... 24GB: like auto, "
                            "but use no more GPU memory than this. fast: the same as auto. 8-bit "
                            "cache, 8-bit weights: always store these in 8 bits (weights: RTX 40 "
                            "series or newer).")),
                advanced(io.Combo.Input(
                    "family", options=FAMILIES, default=FAMILIES[0], optional=True,
                    tooltip="What the transformer was trained for. The files of both families look "
                            "the same. infinity draws pictures from text. varedit edits pictures "
                            "by an instruction, with Infinity Instruct. auto takes what the folder "
                            "says, otherwise infinity.")),
            ],
            outputs=[
                Model.Output(display_name="model", tooltip="Connect it to the sampler, the planner "
                                                           "and the analyzer."),
                TextEncoder.Output(display_name="text encoder",
                                   tooltip="Connect it to Infinity Text Encode."),
                io.Vae.Output(display_name="vae",
                              tooltip="The model's VAE, for ComfyUI's own VAE Decode and VAE "
                                      "Encode."),
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

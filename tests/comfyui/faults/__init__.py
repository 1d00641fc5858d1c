"""A custom node for tests: memory runs out at a chosen place, so many times."""

# pyright: reportMissingModuleSource=false

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import comfy.model_management as manager
import torch

FIRST = 40
"""Which of the engine's questions whether to stop is the first that fails: in the fifth scale."""


ASKS = manager.throw_exception_if_processing_interrupted
LOAD = manager.load_models_gpu


class RunOut:
    """Passes a model on, which will run out of memory. What an earlier one has left is undone."""

    CATEGORY = "testing"
    RETURN_TYPES = ("INFINITY",)
    FUNCTION = "run"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  # ComfyUI's name
        places = ["nowhere", "load", "place", "scale", "decode", "preview"]
        return {"required": {"model": ("INFINITY",), "where": (places,),
                             "times": ("INT", {"default": 1})}}

    def run(self, model: Any, where: str, times: int) -> tuple[Any]:
        residing = model.residing  # exact, so that pictures can be held against each other
        residing.allowance = dataclasses.replace(residing.allowance, means="exact")
        left = times
        vae = model.pipeline.vae
        vars(vae).pop("decode", None)
        vars(residing).pop("_bring", None)
        manager.throw_exception_if_processing_interrupted = ASKS
        manager.load_models_gpu = LOAD

        def fail() -> None:
            nonlocal left
            if left:
                left -= 1
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

        if where == "scale":
            asked = 0

            def ask() -> None:
                nonlocal asked
                if sys._getframe(1).f_code.co_name == "stop_if_interrupted":
                    asked += 1
                    if asked >= FIRST:
                        fail()
                ASKS()

            manager.throw_exception_if_processing_interrupted = ask
        elif where == "load":

            def load(models: Any, *args: Any, **options: Any) -> None:
                if len(models) > 1:  # transformer and VAE, for a run
                    fail()
                LOAD(models, *args, **options)

            manager.load_models_gpu = load
        elif where == "place":
            residing._bring = lambda own: (fail(), type(residing)._bring(residing, own))
        elif where != "nowhere":
            decode = type(vae).decode

            def failing(*args: Any, **options: Any) -> Any:
                # Previews are decoded without a word about tiles.
                if (len(args) == 1 and not options) == (where == "preview"):
                    fail()
                return decode(vae, *args, **options)

            vae.decode = failing
        return (model,)


NODE_CLASS_MAPPINGS = {"TestRunOut": RunOut}

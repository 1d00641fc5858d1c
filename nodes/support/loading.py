"""Files to a loaded model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from . import files
from .host import manager
from .infinity import Infinity, TextEncoder, make_parts

if TYPE_CHECKING:
    from ...toprovar.pipeline import InfinityPipeline


class Narrow(NamedTuple):
    """What is kept in 8 bits whatever the memory."""

    cache: bool = False
    weights: bool = False


EARLIER = {
    "fast": Narrow(),
    "8-bit cache": Narrow(cache=True),
    "8-bit weights": Narrow(weights=True),
    "8-bit weights and cache": Narrow(cache=True, weights=True),
}
"""What the loader's ``memory`` offered before it planned; workflows that were saved name it."""


def load_infinity(name: str, model: Path | None, vae: Path | None, text_encoder: Path | None,
                  dtype: str, attention: str, memory: str = "auto"
                  ) -> tuple[Infinity, TextEncoder]:
    """Load what was chosen.

    Args:
        model: pipeline folder, official file or official folder; None = the embedded model.
        vae, text_encoder: instead of the model's own; None = that.
        dtype: name, or "auto".
        memory: how much may be used and how, or what is kept in 8 bits, in the loader's words.

    Raises:
        ValueError: something is missing or not what it should be, with what to do.
    """
    with _helpful_imports():
        from ...toprovar.devices import choose_dtype
        from ...toprovar.memory.request import Allowance
        from ...toprovar.models.text_encoder import MAX_TEXT_TOKENS
        from ...toprovar.ops import attention as attention_ops

        narrow = EARLIER.get(memory, Narrow())
        allowance = Allowance.parse("auto" if memory in EARLIER else memory)
        attention_ops.choose(attention, manager.get_torch_device())
        wanted = choose_dtype(dtype, manager.get_torch_device())
        # Nodes run in inference mode; weights made in it could not be moved outside of it.
        with torch.inference_mode(False):
            pipeline = _pipeline(model, vae, text_encoder, wanted)
            if narrow.weights:
                _narrow(pipeline)
    if pipeline.text_encoder is None:
        raise ValueError(f"{name} has no text encoder of its own: choose one (flan-t5-xl in "
                         "models/text_encoders)")
    pipeline.set_progress_bar_config(disable=True)  # ComfyUI has its own
    loaded = make_parts(name, pipeline, allowance, attention, narrow.cache)
    limit = min(MAX_TEXT_TOKENS, pipeline.transformer.shape.text_max_length)
    return loaded, TextEncoder(loaded.text_encoder, pipeline.tokenizer, limit, loaded)


def _narrow(pipeline: InfinityPipeline) -> None:
    """Round the blocks' weights to 8 bits."""
    from ...toprovar.models.fp8 import quantize_blocks
    from ...toprovar.ops.fp8_linear import why_no_fp8

    device = manager.get_torch_device()
    reason = why_no_fp8(device) if device.type == "cuda" else None
    if reason is not None:
        raise ValueError(f"memory: 8-bit weights cannot be used on this GPU ({reason}): choose "
                         "auto or 8-bit cache")
    quantize_blocks(pipeline.transformer)


def _pipeline(model: Path | None, vae: Path | None, text_encoder: Path | None,
              dtype: torch.dtype) -> InfinityPipeline:
    from ...toprovar.bundled import bundled_model
    from ...toprovar.checkpoints.load import load_autoencoder
    from ...toprovar.checkpoints.text_load import load_text_encoder
    from ...toprovar.pipeline import InfinityPipeline

    if model is not None and not files.is_pipeline(model):
        assert vae is not None and text_encoder is not None  # the node asks for both
        return InfinityPipeline.from_official(model, vae, text_encoder, torch_dtype=dtype)
    pipeline = InfinityPipeline.from_folder(model or bundled_model(), dtype)
    if vae is None and text_encoder is None:
        return pipeline
    parts = dict(pipeline.components)
    if vae is not None:
        parts["vae"] = load_autoencoder(vae, dtype=dtype)
    if text_encoder is not None:
        parts["text_encoder"], parts["tokenizer"] = load_text_encoder(
            text_encoder, text_encoder, dtype
        )
    defaults = {k: v for k, v in dict(pipeline.config).items() if k.startswith("default_")}
    return InfinityPipeline(**parts, **defaults)


@contextmanager
def _helpful_imports() -> Iterator[None]:
    """A missing package becomes a message that says how to get it."""
    try:
        yield
    except ModuleNotFoundError as error:
        folder = Path(__file__).resolve().parents[2]
        raise RuntimeError(
            f"the Python package {error.name!r} is missing: install this pack's requirements into "
            f"ComfyUI's Python (python -m pip install -r {folder / 'requirements.txt'}), then "
            "restart ComfyUI"
        ) from error

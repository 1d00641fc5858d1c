"""Files to a loaded model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from . import files
from .host import Part, manager
from .infinity import Infinity, TextEncoder, make_parts

if TYPE_CHECKING:
    from ...toprovar.pipeline import InfinityPipeline


def load_infinity(name: str, model: Path | None, vae: Path | None, text_encoder: Path | None,
                  dtype: str, attention: str, memory: str = "fast"
                  ) -> tuple[Infinity, TextEncoder]:
    """Load what was chosen.

    Args:
        model: pipeline folder, official file or official folder; None = the embedded model.
        vae, text_encoder: instead of the model's own; None = that.
        dtype: name, or "auto".
        memory: what is kept in 8 bits, in the loader's words.

    Raises:
        ValueError: something is missing or not what it should be, with what to do.
    """
    with _helpful_imports():
        from ...toprovar.devices import choose_dtype
        from ...toprovar.models.text_encoder import MAX_TEXT_TOKENS
        from ...toprovar.ops import attention as attention_ops

        attention_ops.choose(attention, manager.get_torch_device())
        wanted = choose_dtype(dtype, manager.get_torch_device())
        # Nodes run in inference mode; weights made in it could not be moved outside of it.
        with torch.inference_mode(False):
            pipeline = _pipeline(model, vae, text_encoder, wanted)
            if "weights" in memory:
                _narrow(pipeline)
    if pipeline.text_encoder is None:
        raise ValueError(f"{name} has no text encoder of its own: choose one (flan-t5-xl in "
                         "models/text_encoders)")
    pipeline.set_progress_bar_config(disable=True)  # ComfyUI has its own
    transformer, wrapped = make_parts(pipeline)
    text = Part(pipeline.text_encoder, manager.text_encoder_device(),
                manager.text_encoder_offload_device())
    limit = min(MAX_TEXT_TOKENS, pipeline.transformer.shape.text_max_length)
    return (Infinity(name, pipeline, transformer, wrapped, attention, "cache" in memory),
            TextEncoder(text, pipeline.tokenizer, limit))


def _narrow(pipeline: InfinityPipeline) -> None:
    """Round the blocks' weights to 8 bits."""
    from ...toprovar.models.fp8 import quantize_blocks
    from ...toprovar.ops.fp8_linear import why_no_fp8

    device = manager.get_torch_device()
    reason = why_no_fp8(device) if device.type == "cuda" else None
    if reason is not None:
        raise ValueError(f"memory: 8-bit weights cannot be used on this GPU ({reason}): choose "
                         "fast or 8-bit cache")
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

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
from .launch import Precisions, copies_files, narrow_weights, precisions, why_not_narrow

if TYPE_CHECKING:
    from ...toprovar.pipeline import InfinityPipeline
    from .worded import WordedPipeline


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
                  dtype: str, attention: str, memory: str = "auto",
                  family: str | None = None) -> tuple[Infinity, TextEncoder]:
    """Load what was chosen.

    Args:
        model: pipeline folder, official file or official folder; None = the embedded model.
        vae, text_encoder: instead of the model's own; None = that.
        dtype: name, or "auto"; see ``launch.precisions``.
        family: what the transformer was trained for; None = as its folder says.
        memory: how much may be used and how, or what is kept in 8 bits, in the loader's words.

    Raises:
        ValueError: something is missing or not what it should be, with what to do.
    """
    with _helpful_imports():
        from ...toprovar.memory.request import Allowance
        from ...toprovar.ops import attention as attention_ops

        narrow = EARLIER.get(memory, Narrow())
        allowance = Allowance.parse("auto" if memory in EARLIER else memory)
        attention_ops.choose(attention, manager.get_torch_device())
        wanted = precisions(dtype, manager.get_torch_device())
        # Nodes run in inference mode; weights made in it could not be moved outside of it.
        with torch.inference_mode(False):
            pipeline = _pipeline(model, vae, text_encoder, wanted, family)
            if narrow.weights or (narrow_weights() and why_not_narrow() is None):
                _narrow(pipeline)
    if pipeline.text_encoder is None:
        raise ValueError(f"{name} has no text encoder of its own: choose one (flan-t5-xl in "
                         "models/text_encoders)")
    pipeline.set_progress_bar_config(disable=True)  # ComfyUI has its own
    loaded = make_parts(name, pipeline, allowance, attention, narrow.cache)
    return loaded, loaded.encoder


def _narrow(pipeline: InfinityPipeline) -> None:
    """Round the blocks' weights to 8 bits."""
    from ...toprovar.models.fp8 import quantize_blocks

    reason = why_not_narrow()
    if reason is not None:
        raise ValueError(f"memory: 8-bit weights cannot be used on this GPU ({reason}): choose "
                         "auto or 8-bit cache")
    quantize_blocks(pipeline.transformer)


def _pipeline(model: Path | None, vae: Path | None, text_encoder: Path | None,
              wanted: Precisions, family: str | None) -> WordedPipeline:
    """As the pipeline's ``from_folder`` and ``from_official``, each part in its own precision."""
    from ...toprovar.bundled import bundled_model
    from ...toprovar.checkpoints.load import load_autoencoder, load_transformer
    from ...toprovar.checkpoints.pipeline_index import read_defaults
    from ...toprovar.checkpoints.text_load import load_text_encoder
    from ...toprovar.models.variants import default_sampling
    from .worded import WordedPipeline

    folder, copied = model or bundled_model(), copies_files()
    whole = files.is_pipeline(folder)
    assert whole or (vae and text_encoder)  # the node asks for both
    decoder = load_autoencoder(vae or folder / "vae", dtype=wanted.vae, disable_mmap=copied)
    transformer = load_transformer(
        folder / "transformer" if whole else folder, dtype=wanted.transformer,
        vae_channels=decoder.shape.latent_channels, disable_mmap=copied, family=family,
    )
    encoder = tokenizer = None
    if text_encoder is not None:
        encoder, tokenizer = load_text_encoder(text_encoder, text_encoder, wanted.text_encoder,
                                               copied)
    elif (folder / "text_encoder").is_dir():
        encoder, tokenizer = load_text_encoder(folder / "text_encoder", folder / "tokenizer",
                                               wanted.text_encoder, copied)
    defaults = read_defaults(folder) if whole else default_sampling(transformer.shape)
    return WordedPipeline(transformer, decoder, encoder, tokenizer, **defaults)


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

"""A T5 text encoder in one safetensors file, as ComfyUI's users have T5: no config.json says what
it is, so its tensors do. Its tokenizer is the one in the box."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..box import damage
from ..files import DATA
from .errors import CheckpointError
from .sources import TensorSource
from .text_shape import EMBEDDING, EMBEDDING_TWIN, TextShape

TOKENIZER = DATA / "t5_tokenizer"
"""T5's vocabulary, that of all T5 and Flan-T5 models."""

_BLOCK = "encoder.block."
_FIRST = "encoder.block.0.layer."
_QUERY = f"{_FIRST}0.SelfAttention.q.weight"
_BIAS = f"{_FIRST}0.SelfAttention.relative_attention_bias.weight"
_GATED, _PLAIN = (f"{_FIRST}1.DenseReluDense.{name}.weight" for name in ("wi_0", "wi"))
_OTHERS: Mapping[tuple[int, int, int], str] = {
    (32128, 4096, 10240): "t5xxl (T5 v1.1 or Flan XXL, for Stable Diffusion 3, FLUX and others)",
    (256384, 4096, 10240): "umt5-xxl (for Wan and others)",
    (250112, 4096, 10240): "mt5-xxl",
    (250112, 2048, 5120): "mt5-xl (for HunyuanDiT)",
    (32128, 1024, 2816): "T5 v1.1 or Flan, large",
    (32128, 768, 2048): "T5 v1.1 or Flan, base",
    (32128, 512, 1024): "T5 v1.1 or Flan, small",
    (32128, 1024, 65536): "the first T5, 11B",
    (32128, 1024, 16384): "the first T5, 3B",
    (32128, 1024, 4096): "the first T5, large",
    (32128, 768, 3072): "the first T5, base",
    (32128, 512, 2048): "the first T5, small",
    (1510, 1472, 3584): "byt5 (for glyphs)",
}
"""Words, width and inner width -> the encoder of that shape that it must be."""


def is_text_file(source: TensorSource) -> bool:
    """Whether a file's tensors have the names of a T5 encoder."""
    return _QUERY in source.infos


def file_shape(source: TensorSource) -> TextShape:
    """The shape of the encoder in a file, by its tensors.

    Raises:
        CheckpointError: it is no T5 encoder, or a well-known one that Infinity was not made with.
    """
    if not is_text_file(source):
        raise CheckpointError(
            source.path, "a single file, but not of a T5 text encoder: give flan-t5-xl as one "
            "safetensors file, or as a folder with config.json, weights and tokenizer",
            expected=f"a tensor {_QUERY}", found=next(iter(source.infos)),
        )
    embedding = EMBEDDING if EMBEDDING in source.infos else EMBEDDING_TWIN
    words, width = _sizes(source, embedding)
    inner, _ = _sizes(source, _QUERY)
    gated = _GATED in source.infos
    forward, _ = _sizes(source, _GATED if gated else _PLAIN)
    other = _OTHERS.get((words, width, forward))
    if other is not None:
        raise CheckpointError(
            source.path, f"the wrong T5: this is {other}, Infinity needs flan-t5-xl",
            expected="2048 channels, 32128 words",
            found=f"{width} channels, {words} words",
        )
    buckets, heads = _sizes(source, _BIAS)
    if inner % heads:
        raise CheckpointError(source.path, "does not split into the heads of its attention bias",
                              key=_QUERY, expected=f"a multiple of {heads} rows", found=inner)
    return TextShape(
        vocab_size=words, d_model=width, d_kv=inner // heads, d_ff=forward,
        num_layers=1 + max(_layers(source)), num_heads=heads,
        relative_attention_num_buckets=buckets,
        feed_forward_proj="gated-gelu" if gated else "relu",
    )


def file_config(shape: TextShape) -> dict[str, Any]:
    """config.json of a folder with such an encoder."""
    return {"architectures": ["T5EncoderModel"], "model_type": "t5", "is_encoder_decoder": False,
            "use_cache": False, **asdict(shape)}


def box_tokenizer() -> Path:
    """The folder of T5's tokenizer in the box.

    Raises:
        CheckpointError: its files are missing or damaged.
    """
    wrong = damage(TOKENIZER)
    if wrong is not None:
        raise CheckpointError(TOKENIZER, f"T5's tokenizer, which comes with this package: {wrong}",
                              note="install the package anew")
    return TOKENIZER


def _sizes(source: TensorSource, key: str) -> tuple[int, int]:
    """Those of a matrix."""
    if key not in source.infos:
        raise CheckpointError(source.path, "a tensor of the text encoder is missing", key=key)
    shape = source.shape(key)
    if len(shape) != 2 or not all(shape):
        raise CheckpointError(source.path, "wrong shape", key=key, expected="a matrix",
                              found=shape)
    return shape[0], shape[1]


def _layers(source: TensorSource) -> list[int]:
    """Numbers of the blocks that the file has tensors of; the first is there."""
    numbers = {key.removeprefix(_BLOCK).split(".", 1)[0] for key in source.infos
               if key.startswith(_BLOCK)}
    return [int(n) for n in numbers if n.isdecimal() and len(n) < 5]

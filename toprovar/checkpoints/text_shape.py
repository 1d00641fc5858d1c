"""What a T5 text encoder is made of, from its config.json: checked before any library sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import CheckpointError
from .reader import read_json

_MAX_LAYERS = 512
_MAX_SIZE = 1 << 24
_FEED_FORWARD = ("relu", "gelu", "gelu_new", "silu", "gated-relu", "gated-gelu", "gated-silu")
EMBEDDING = "shared.weight"
EMBEDDING_TWIN = "encoder.embed_tokens.weight"
"""The same tensor under the encoder's name; files hold either or both."""


@dataclass(frozen=True)
class TextShape:
    """Shape of a T5 encoder; the names are those of config.json, the defaults transformers'."""

    vocab_size: int
    d_model: int
    d_kv: int
    d_ff: int
    num_layers: int
    num_heads: int
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    layer_norm_epsilon: float = 1e-6
    feed_forward_proj: str = "relu"

    def tensors(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of every tensor."""
        width, inner = self.d_model, self.num_heads * self.d_kv
        shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (self.vocab_size, width)}
        for layer in range(self.num_layers):
            attention = f"encoder.block.{layer}.layer.0."
            shapes.update({f"{attention}SelfAttention.{n}.weight": (inner, width) for n in "qkv"})
            shapes[f"{attention}SelfAttention.o.weight"] = (width, inner)
            if layer == 0:
                shapes[f"{attention}SelfAttention.relative_attention_bias.weight"] = (
                    self.relative_attention_num_buckets, self.num_heads
                )
            shapes[f"{attention}layer_norm.weight"] = (width,)
            forward = f"encoder.block.{layer}.layer.1."
            gated = self.feed_forward_proj.startswith("gated-")
            for name in ("wi_0", "wi_1") if gated else ("wi",):
                shapes[f"{forward}DenseReluDense.{name}.weight"] = (self.d_ff, width)
            shapes[f"{forward}DenseReluDense.wo.weight"] = (width, self.d_ff)
            shapes[f"{forward}layer_norm.weight"] = (width,)
        shapes["encoder.final_layer_norm.weight"] = (width,)
        return shapes


def read_text_shape(folder: Path) -> TextShape:
    """The shape that a folder's config.json says.

    Raises:
        CheckpointError: it is missing, of another kind of model, or impossible.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise CheckpointError(
            folder, "not a text encoder's folder: config.json is missing",
            expected="config.json, weights and tokenizer of a T5 encoder such as flan-t5-xl",
        )
    content = read_json(file)
    refuse_code(file, content)
    if content.get("model_type") != "t5":
        raise CheckpointError(file, "not a T5 configuration", key="model_type", expected="t5",
                              found=content.get("model_type", "nothing"))
    values: dict[str, Any] = {}
    for name, kind in TextShape.__annotations__.items():
        if name in content:
            values[name] = _checked(file, name, content[name], kind)
        elif not hasattr(TextShape, name):
            raise CheckpointError(file, "not a T5 configuration: missing", key=name)
    shape = TextShape(**values)
    if shape.num_layers > _MAX_LAYERS:
        raise CheckpointError(file, "implausible number of layers", key="num_layers",
                              expected=f"at most {_MAX_LAYERS}", found=shape.num_layers)
    return shape


def _checked(file: Path, name: str, value: Any, kind: str) -> Any:
    if kind == "str":
        if value in _FEED_FORWARD:
            return value
        expected = " or ".join(_FEED_FORWARD)
    elif kind == "float":
        if isinstance(value, float) and 0 < value < 1:
            return value
        expected = "a number between 0 and 1"
    else:
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MAX_SIZE:
            return value
        expected = f"a whole number from 1 to {_MAX_SIZE}"
    raise CheckpointError(file, "not a valid T5 configuration", key=name, expected=expected,
                          found=repr(value)[:80])


def refuse_code(file: Path, content: Mapping[str, Any]) -> None:
    """Refuses a configuration that names code to be run (``auto_map``)."""
    if "auto_map" in content:
        raise CheckpointError(
            file, "it names Python code of its own to be run, which is never done; remove the "
            "entry if the model works without", key="auto_map",
        )

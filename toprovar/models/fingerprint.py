"""A short name for a transformer's weights, the same however they were loaded."""

from __future__ import annotations

import hashlib
import json
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from .transformer import InfinityTransformer

SAMPLES = 1024
"""Most values taken from each tensor."""


def model_fingerprint(transformer: InfinityTransformer) -> str:
    """Shape in words, then 16 hexadecimal digits of a SHA-256 over shape and sampled weights.

    Sampled are the tensors at both ends of the network (start token, level and token embeddings,
    head), evenly spaced and rounded to float16. Every load of this package keeps them in float32,
    or as a file in float16 has them, so float32, float16 and bfloat16 loads of a model share a
    fingerprint. A module cast as a whole to bfloat16, or saved in it, has another one. A
    fine-tune that left these four tensors alone is not told from its base.

    Takes milliseconds, and from a GPU one small copy; remembered until the weights change.
    """
    if any(t.is_meta for t in _ends(transformer)):
        raise ValueError("a model whose weights are not loaded has no fingerprint")
    now = [(t.data_ptr(), t.dtype, 0 if t.is_inference() else t._version)
           for t in _ends(transformer)]
    known = _KNOWN.get(transformer)
    if known is None or known[0] != now:
        known = _KNOWN[transformer] = (now, _fingerprint(transformer))
    return known[1]


_KNOWN: WeakKeyDictionary[InfinityTransformer, tuple[list[Any], str]] = WeakKeyDictionary()


def _ends(transformer: InfinityTransformer) -> tuple[Tensor, ...]:
    """The sampled tensors."""
    return (transformer.start, transformer.level_embed.weight, transformer.token_embed.weight,
            transformer.head.weight)


def _fingerprint(transformer: InfinityTransformer) -> str:
    shape = transformer.shape
    known = shape.to_dict()
    if not shape.edits:
        del known["family"]  # so that names from before there were families stay
    about = json.dumps(known, sort_keys=True).encode()
    parts = [_sample(t) for t in _ends(transformer)]
    values = torch.cat(parts).cpu().numpy().astype("<f2").tobytes()
    digest = hashlib.sha256(about + b"\0" + values).hexdigest()[:16]
    return f"{shape.depth}x{shape.width}-{shape.bits_per_token}bit-{digest}"


def _sample(tensor: Tensor) -> Tensor:
    """[<= SAMPLES] float16."""
    flat = tensor.detach().flatten()
    return flat[:: max(1, -(-flat.numel() // SAMPLES))].to(torch.float16)

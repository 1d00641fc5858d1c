"""A short name for a transformer's weights, the same however they were loaded."""

from __future__ import annotations

import hashlib
import json

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

    Takes milliseconds; from a GPU, one small copy.
    """
    shape = transformer.shape
    about = json.dumps(shape.to_dict(), sort_keys=True).encode()
    parts = [_sample(t) for t in (
        transformer.start, transformer.level_embed.weight, transformer.token_embed.weight,
        transformer.head.weight,
    )]
    if any(part.is_meta for part in parts):
        raise ValueError("a model whose weights are not loaded has no fingerprint")
    values = torch.cat(parts).cpu().numpy().astype("<f2").tobytes()
    digest = hashlib.sha256(about + b"\0" + values).hexdigest()[:16]
    return f"{shape.depth}x{shape.width}-{shape.bits_per_token}bit-{digest}"


def _sample(tensor: Tensor) -> Tensor:
    """[<= SAMPLES] float16."""
    flat = tensor.detach().flatten()
    return flat[:: max(1, -(-flat.numel() // SAMPLES))].to(torch.float16)

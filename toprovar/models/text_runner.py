"""A T5 encoder's forward pass, on NVIDIA GPUs as CUDA graphs of a few padded lengths."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from .replay import Replays, Weights
from .text_streaming import text_stream_of

BUCKET = 64
"""Text tokens that a padded prompt is a multiple of on a GPU."""


def padded_length(tokens: int, device: torch.device) -> int:
    """Tokens that prompts of at most ``tokens`` are padded to."""
    return tokens if device.type != "cuda" else -(-tokens // BUCKET) * BUCKET


def encode(encoder: Any, ids: Tensor, mask: Tensor, graph: bool | None = None) -> Tensor:
    """[B, n, C] features in the encoder's dtype.

    Args:
        encoder: transformers ``T5EncoderModel``.
        ids: [B, n] int64. mask: [B, n], 1 for tokens and 0 for padding.
        graph: as in :class:`~toprovar.models.replay.Replays`.
    """
    device = encoder.device
    stream = text_stream_of(encoder)
    if stream is not None:
        _RUNNERS.pop(encoder, None)
        return stream.kept(ids, mask, lambda: _plainly(
            encoder, ids.to(stream.device), mask.to(stream.device)))
    ids, mask = ids.to(device), mask.to(device)
    if device.type != "cuda" or hasattr(encoder, "_hf_hook"):  # offloaded: it moves when called
        return _plainly(encoder, ids, mask)
    runner = _RUNNERS.get(encoder)
    if runner is None or not runner.weights.unchanged():
        _RUNNERS.pop(encoder, None)
        runner = _RUNNERS[encoder] = EncodeRunner(encoder)
    return runner(encoder, ids, mask, graph)


def _plainly(encoder: Any, ids: Tensor, mask: Tensor) -> Tensor:
    with torch.inference_mode():
        return encoder(input_ids=ids, attention_mask=mask).last_hidden_state


def forget_recordings(encoder: Any) -> None:
    """Free the memory of recorded encodings."""
    _RUNNERS.pop(encoder, None)


class EncodeRunner:
    """The recordings of one encoder with its weights as they are now."""

    def __init__(self, encoder: Any) -> None:
        self.weights = Weights(encoder)
        self.replays = Replays("the text encoder", encoder.device, limit=8)
        self._lock = threading.Lock()

    def __call__(self, encoder: Any, ids: Tensor, mask: Tensor, graph: bool | None) -> Tensor:
        def work(ids: Tensor, mask: Tensor) -> Tensor:
            return encoder(
                input_ids=ids, attention_mask=ready_mask(mask, encoder.dtype)
            ).last_hidden_state

        with self._lock:
            return self.replays(work, ids, mask, graph=graph)


def ready_mask(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """[B, n] mask in the form that the encoder takes without looking at its values.

    From transformers 5 on it asks whether every token counts, which waits for the device, unless
    it is given [B, 1, n, n] numbers to add; before, it only takes [B, n].
    """
    if not _takes_ready_masks():
        return mask
    added = (1 - mask.to(dtype)) * torch.finfo(dtype).min
    return added[:, None, None].expand(-1, 1, mask.shape[1], -1)


@cache
def _takes_ready_masks() -> bool:
    import transformers
    from packaging.version import Version

    return Version(transformers.__version__) >= Version("5.0.0")


_RUNNERS: WeakKeyDictionary[Any, EncodeRunner] = WeakKeyDictionary()
"""As for autoencoders: transformers' modules cannot hold what was recorded of them."""

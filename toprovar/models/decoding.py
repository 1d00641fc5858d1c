"""Which decoder runs an autoencoder's decode: the plain one, or the fast one and its recordings."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor

from ..ops.ahead import Ahead
from ..ops.group_norm_silu import NORM_AFFINE
from ..ops.registry import Call
from .fast_decoder import FastDecoder, scratch_bytes
from .replay import Replays, Weights

if TYPE_CHECKING:
    from .autoencoder import InfinityAutoencoder


class DecodeRunner:
    """A fast decoder of one autoencoder as its weights are now.

    Args:
        vae: its weights are copied (142 MB of the released ones in half precision).
        backend: of the operations.
    """

    def __init__(self, vae: InfinityAutoencoder, backend: str = "auto") -> None:
        self.shape, self.weights = vae.shape, Weights(vae.decoder)
        self.decoder = FastDecoder(vae.decoder, vae.dtype, backend)
        self.replays = Replays("the VAE's decoder", vae.device)
        self._ahead = Ahead((), vae.device)
        self._prepared = False
        self._lock = threading.Lock()

    def compile_ahead(self) -> None:
        """Begin to compile the kernels; what decodes then waits for them. Returns at once."""
        with self._lock:
            self._begin()

    def _begin(self) -> None:
        if not self._prepared:
            self._prepared = True
            self._ahead = Ahead(self.decoder.launches(), self.replays.device)

    def __call__(self, codes: Tensor, graph: bool | None = None) -> Tensor:
        """[B, d, h, w] -> [B, 3, H, W] float32 in [-1, 1]; ``graph`` as in ``Replays``."""
        height, width = (n * self.shape.stride // self.shape.stem_patch for n in codes.shape[-2:])
        scratch = codes.shape[0] * scratch_bytes(
            self.shape.level_widths, height, width, self.decoder.dtype.itemsize
        )
        with self._lock:
            self._begin()
            self._ahead.wait()
            return self.replays(self._image, codes, graph=graph, scratch=scratch)

    def _image(self, codes: Tensor) -> Tensor:
        return finish_image(self.decoder(codes), self.shape.stem_patch)


def finish_image(image: Tensor, stem_patch: int) -> Tensor:
    """The decoder's output -> [B, 3, H, W] float32 in [-1, 1]."""
    if stem_patch > 1:
        image = F.pixel_shuffle(image, stem_patch)
    return image.float().clamp_(-1, 1)


def why_plain(vae: InfinityAutoencoder) -> str | None:
    """None when the fast decoder serves this autoencoder, else the reason in words."""
    if vae.dtype not in (torch.bfloat16, torch.float16):
        return f"the fast decoder is for half precision, the weights are {vae.dtype}"
    if torch.is_grad_enabled():
        return "gradients may be wanted"
    call = Call(vae.device, vae.dtype, max(vae.shape.level_widths))
    reason = NORM_AFFINE.explain(call)["triton"]
    return None if reason == "chosen" else reason


_RUNNERS: WeakKeyDictionary[InfinityAutoencoder, DecodeRunner] = WeakKeyDictionary()
"""Weights-only modules cannot hold what was made of their weights; it lives as long as they do."""


def runner_of(vae: InfinityAutoencoder) -> DecodeRunner:
    """The autoencoder's runner; a new one where the weights have moved or changed."""
    drop_stale(vae)
    runner = _RUNNERS.get(vae)
    if runner is None:
        runner = _RUNNERS[vae] = DecodeRunner(vae)
    return runner


def compile_ahead(vae: InfinityAutoencoder) -> None:
    """Begin to compile what the first decode launches, where the fast decoder will run it."""
    if vae in _RUNNERS or vae.device.type != "cuda":
        return
    with torch.no_grad():
        if why_plain(vae) is None:
            runner_of(vae).compile_ahead()


def held_bytes(vae: InfinityAutoencoder) -> int:
    """Of the copy of the weights that the fast decoder works with."""
    runner = _RUNNERS.get(vae)
    return 0 if runner is None else runner.decoder.nbytes


def forget_recordings(vae: InfinityAutoencoder) -> None:
    """Free the memory of recorded decodes."""
    runner = _RUNNERS.get(vae)
    if runner is not None:
        runner.replays.forget()


def drop_stale(vae: InfinityAutoencoder) -> None:
    """Free what was made of weights that now lie elsewhere."""
    runner = _RUNNERS.get(vae)
    if runner is not None and not runner.weights.unchanged():
        del _RUNNERS[vae]

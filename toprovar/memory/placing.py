"""Brings the parts of a pipeline to where a plan wants them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..models import decoding
from ..models.fp8 import is_quantized, quantize_blocks
from ..models.text_streaming import forget_text_stream, stream_text, text_stream_of
from ..models.transformer import InfinityTransformer
from ..rooms import spread
from ..sampling import workspace
from ..sampling.lending import forget_lent, lend_blocks, lent_of
from ..sampling.streaming import forget_stream, stream_blocks, stream_of
from .placement import Placement

if TYPE_CHECKING:
    from ..pipeline import InfinityPipeline


class Places:
    """Where the parts are.

    Args:
        pipeline: gives the pipeline.
        device: where it works; moves: names of the parts that are brought there.
    """

    def __init__(self, pipeline: Callable[[], InfinityPipeline], device: torch.device,
                 moves: Collection[str]) -> None:
        self._pipeline, self.device, self._moves = pipeline, device, moves
        self._now: tuple[int, int, int] | None = None

    def held(self) -> int:
        """Bytes that the parts and what was made of them hold on the device now."""
        own = self._pipeline()
        there = {id(t): t.nbytes for part in (own.transformer, own.vae, own.text_encoder)
                 if part is not None for t in (*part.parameters(), *part.buffers())
                 if t.device == self.device}
        stream = stream_of(own.transformer)
        return sum(there.values()) + (0 if stream is None else stream.device_bytes) \
            + workspace.held_bytes(own.transformer) + decoding.held_bytes(own.vae)

    def bring(self, wanted: Placement) -> None:
        """Bring the parts in care to their places. Does nothing where they are there."""
        own = self._pipeline()
        transformer, encoder = own.transformer, own.text_encoder
        if wanted.narrow_weights and not is_quantized(transformer):
            self.forget()
            quantize_blocks(transformer)
        now = wanted.streamed, wanted.text, wanted.lent
        lent = lent_of(transformer)
        if lent is not None and lent.away and now == self._now:
            lent.come_back()
        if now == self._now and self._untouched():
            return
        if "transformer" in self._moves:
            self._bring_blocks(transformer, wanted)
        if encoder is not None and "text_encoder" in self._moves:
            text = text_stream_of(encoder)
            if wanted.text != (0 if text is None else len(text.streamed)) \
                    or next(encoder.parameters()).device != self.device:
                stream_text(encoder, self.device, wanted.text)
        if "vae" in self._moves:
            nn.Module.to(own.vae, self.device)
        self._now = now
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # what has left the device

    def moved(self) -> None:
        """Somebody else has moved parts: bring them again."""
        self._now = None

    def forget(self) -> None:
        """End the streaming and lending of blocks: they are ordinary ones, where they are."""
        transformer = self._pipeline().transformer
        workspace.release(transformer)
        forget_stream(transformer)
        forget_lent(transformer)
        self._now = None

    def leave(self) -> None:
        """Take the parts out of this care: all of them can be moved again as they are used to."""
        self.forget()
        encoder = self._pipeline().text_encoder
        if encoder is not None:
            forget_text_stream(encoder)

    def _bring_blocks(self, transformer: InfinityTransformer, wanted: Placement) -> None:
        """Blocks that were lent leave first, and those that will be come first: each time they lie
        in one piece, which must not have holes that others are put in."""
        stream, lent, depth = stream_of(transformer), lent_of(transformer), transformer.shape.depth
        streamed = 0 if stream is None else len(stream.streamed)
        if self._now is not None and transformer.null_text.device == self.device \
                and wanted.streamed == streamed \
                and wanted.lent == (0 if lent is None else len(lent.layers)) \
                and not (lent is not None and lent.away):
            return
        workspace.release(transformer)
        if lent is not None:
            lent.go()
            forget_lent(transformer)
        away = spread(wanted.streamed, depth)
        here = [layer for layer in range(depth) if layer not in away]
        lend_blocks(transformer, self.device, here[: wanted.lent])
        stream_blocks(transformer, self.device, depth - wanted.streamed)

    def _untouched(self) -> bool:
        """Whether nobody has moved the parts since."""
        own = self._pipeline()
        parts: list[Any] = [getattr(own, name) for name in self._moves]
        return all(next(part.parameters()).device == self.device
                   for part in parts if part is not None)

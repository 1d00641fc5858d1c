"""What the weights of a pipeline take on a device, part by part."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..models.autoencoder import InfinityAutoencoder
from ..models.fp8 import LAYERS, is_quantized
from ..models.text_streaming import large_parameters, text_blocks
from ..models.transformer import InfinityTransformer
from ..sampling.streaming import streamed_bytes


@dataclass(frozen=True)
class Parts:
    """Bytes of weights.

    Attributes:
        depth: blocks of the transformer.
        rest: of the transformer without the matrices of its blocks, which can be streamed.
        block: matrices of one block; room: what one needs of a room; crossing: what crosses the bus
            when it is streamed.
        narrow_block, narrow_room, narrow_crossing: the same in 8 bits; narrowable: whether that is
            possible and not done yet.
        vae: with the copy that the fast decoder makes of its weights.
        text_rest: of the text encoder without what can be streamed; text_block: that, of one block;
            text_depth: its blocks; text_work: intermediate results of one prompt of full length.
    """

    depth: int
    rest: int
    block: int
    room: int
    crossing: int
    narrow_block: int
    narrow_room: int
    narrow_crossing: int
    narrowable: bool
    vae: int
    text_rest: int
    text_block: int
    text_depth: int
    text_work: int

    @staticmethod
    def of(transformer: InfinityTransformer, vae: InfinityAutoencoder, text_encoder: Any,
           device: torch.device) -> Parts:
        """Count them, wherever they lie.

        Args:
            text_encoder: transformers ``T5EncoderModel``, or None.
            device: where they are to work.
        """
        depth = transformer.shape.depth
        block, room = streamed_bytes(transformer.block(0))
        rounded = sum(transformer.block(0).get_parameter(f"{name}.weight").numel()
                      for name in LAYERS)
        wide = sum(transformer.block(0).get_parameter(f"{name}.weight").nbytes for name in LAYERS)
        text_rest = text_block = text_depth = text_work = 0
        if text_encoder is not None:
            blocks = text_blocks(text_encoder)
            text_depth = len(blocks)
            text_block = _bytes(large_parameters(blocks[0]).values())
            text_rest = _bytes(text_encoder.parameters()) - text_depth * text_block
            text_work = _text_work(text_encoder, transformer.shape.text_max_length)
        return Parts(
            depth, _bytes(transformer.parameters()) + _bytes(transformer.buffers())
            - depth * block, block, room, wide,
            block - wide + rounded, room - wide + rounded, rounded, not is_quantized(transformer),
            _bytes(vae.parameters()) + _fast_decoder_bytes(vae, device),
            text_rest, text_block, text_depth, text_work,
        )


def _text_work(encoder: Any, tokens: int) -> int:
    """Of a T5 encoder: attention's scores, twice, in float32 where they become shares; four
    activations as wide as the model, and two hidden layers; the bias of all distances."""
    own = encoder.config
    scores = own.num_heads * tokens * tokens * (2 * 4 + encoder.dtype.itemsize)
    return scores + tokens * (4 * own.d_model + 2 * own.d_ff) * encoder.dtype.itemsize


def _fast_decoder_bytes(vae: InfinityAutoencoder, device: torch.device) -> int:
    """Of the copy that the fast decoder works with."""
    if device.type != "cuda" or vae.dtype not in (torch.bfloat16, torch.float16):
        return 0
    plain = _bytes(vae.decoder.parameters())
    # An upsampling's 3 x 3 weights become four of 2 x 2.
    up = sum(step.conv.weight.nbytes for step in
             (getattr(level, "step", None) for level in vae.decoder.levels) if step is not None)
    return plain + up * 7 // 9


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in {id(t): t for t in tensors}.values())

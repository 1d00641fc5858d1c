"""What a run derives from its prompts, at fixed addresses.

``TextContext`` of the model holds tensors made anew for every run, one set a block. Here they lie
in a few large tensors that the next run fills again, so that a recorded scale finds them, and
prompts of any length fit: how long they are is read on the device.
"""

from __future__ import annotations

from copy import copy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..models.blocks import MAX_HEAD_SCALE
from ..models.config import TransformerConfig
from ..models.text import PackedText, linear_fp32
from ..models.transformer import InfinityTransformer
from ..ops.attention import attention
from .streaming import stream_of

BUCKET = 64
"""Text is prepared for lengths that are multiples of this."""


def text_room_bytes(shape: TransformerConfig, dtype: torch.dtype, rows: int, room: int) -> int:
    """What a ``DeviceText`` takes, before there is one."""
    room = -(-room // BUCKET) * BUCKET
    keys = shape.depth * room * rows * 2 * shape.width * dtype.itemsize
    floats = (6 * shape.depth * rows + 2 * shape.depth + 3 * rows) * shape.width \
        + room * rows * shape.text_channels + shape.depth * shape.num_heads + rows
    return keys + 4 * floats + 5 * shape.depth * shape.width * dtype.itemsize


class LayerText(NamedTuple):
    """One block's share. Modulation is [R, C] float32, the cross-attention's norm [C]."""

    gamma1: Tensor
    gamma2: Tensor
    gain1: Tensor
    gain2: Tensor
    shift1: Tensor
    shift2: Tensor
    cross_gain: Tensor
    cross_shift: Tensor
    head_scale: Tensor
    qkv_bias: Tensor
    text_k: Tensor
    text_v: Tensor

    def from_row(self, first: int) -> LayerText:
        """The same from row ``first`` on, as views."""
        mine = ("gamma1", "gamma2", "gain1", "gain2", "shift1", "shift2", "text_k", "text_v")
        return self._replace(**{name: getattr(self, name)[first:] for name in mine})


class DeviceText:
    """Room for ``rows`` prompts of at most ``room`` text tokens.

    Attributes:
        lengths: [R] int32 on the device.
        pooled: [R, C] float32; head: gain and shift of the head's norm, [R, C] float32 each.
    """

    def __init__(self, transformer: InfinityTransformer, rows: int, room: int) -> None:
        shape, device = transformer.shape, transformer.null_text.device
        self.rows = rows  # the model is not held: a workspace must not keep it alive
        self.room = -(-room // BUCKET) * BUCKET
        depth, width, heads = shape.depth, shape.width, shape.num_heads
        dtype = transformer.compute_dtype

        def space(*size: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(*size, dtype=dtype, device=device)

        self.lengths = space(rows, dtype=torch.int32)
        self.features = space(self.room, rows, shape.text_channels)  # tokens first, then rows
        self.pooled = space(rows, width)
        self.head = (space(rows, width), space(rows, width))
        self._modulation = space(depth, 6, rows, width)
        self._cross_norm = space(2, depth, width)
        self._head_scale = space(depth, heads)
        self._qkv_bias = space(depth, 3, width, dtype=dtype)
        self._kv_bias = space(depth, 2, width, dtype=dtype)
        self._kv = space(depth, self.room * rows, 2 * width, dtype=dtype)
        #: per block [L, R, 2, H, D] -> k, v [R, H, L, D]
        k, v = self._kv.view(depth, self.room, rows, 2, heads, -1).permute(3, 0, 2, 4, 1, 5)
        self._layers = tuple(
            LayerText._make([
                *self._modulation[layer], *self._cross_norm[:, layer], self._head_scale[layer],
                self._qkv_bias[layer].view(-1), k[layer], v[layer],
            ]) for layer in range(depth)
        )

    @property
    def nbytes(self) -> int:
        held = (self.lengths, self.features, self.pooled, *self.head, self._modulation,
                self._cross_norm, self._head_scale, self._qkv_bias, self._kv_bias, self._kv)
        return sum(tensor.nbytes for tensor in held)

    def layer(self, layer: int) -> LayerText:
        return self._layers[layer]

    def from_row(self, first: int) -> DeviceText:
        """The same from row ``first`` on, as views, for reading only."""
        other = copy(self)
        other.rows = self.rows - first
        other.lengths, other.pooled = self.lengths[first:], self.pooled[first:]
        other.head = (self.head[0][first:], self.head[1][first:])
        other._layers = tuple(layer.from_row(first) for layer in self._layers)
        return other

    def load(self, text: PackedText) -> int:
        """Take the raw features of all rows, conditional rows first.

        Returns:
            the bucket that ``prepare`` must be called with.
        """
        if text.features.shape[1] != self.features.shape[2]:
            raise ValueError(
                f"text features have {text.features.shape[1]} channels, the model expects "
                f"{self.features.shape[2]}: is this the right text encoder?"
            )
        longest = max(text.lengths)
        if len(text) != self.rows or longest > self.room:
            raise ValueError(f"{len(text)} prompts of up to {longest} text tokens do not fit the "
                             f"room of {self.rows} prompts of {self.room}")
        bucket = -(-longest // BUCKET) * BUCKET
        self.features[:longest].copy_(pad_sequence(list(text.rows())))
        self.features[longest:bucket].zero_()
        lengths = torch.tensor(text.lengths, dtype=torch.int32)
        if self.lengths.device.type == "cuda":
            lengths = lengths.pin_memory()
        self.lengths.copy_(lengths, non_blocking=True)
        return bucket

    def prepare(self, model: InfinityTransformer, bucket: int) -> Tensor:
        """Everything else, from the features that were loaded. Never waits for the device.

        Returns:
            ``pooled``.
        """
        rows = self.rows
        self._copy_weights(model)
        text = model.text_norm(self.features[:bucket].flatten(0, 1))
        self.pooled.copy_(self._pool(model, text, bucket))
        activated = F.silu(self.pooled)
        shared = linear_fp32(activated, model.shared_modulation).view(rows, 6, -1)
        self._modulation.add_(shared.transpose(0, 1))
        scale, shift = linear_fp32(activated, model.head_modulation).chunk(2, dim=-1)
        torch.add(scale, 1, out=self.head[0])
        self.head[1].copy_(shift)
        projected = model.text_proj(text).to(model.compute_dtype)
        stream, layers = stream_of(model), range(model.shape.depth)
        if stream is not None:
            stream.begin(layers, text=True)
        for layer in layers:
            weight = model.block(layer).cross_attn.to_kv.weight if stream is None \
                else stream.text_weight(layer)
            torch.addmm(self._kv_bias[layer].view(-1), projected, weight.t(),
                        out=self._kv[layer, : bucket * rows])
        if stream is not None:
            stream.join()
        return self.pooled

    def _copy_weights(self, model: InfinityTransformer) -> None:
        """What depends on the weights alone, read again for every run: they may have changed."""
        blocks = [model.block(layer) for layer in range(model.shape.depth)]
        own = torch.stack([b.modulation[0, 0] for b in blocks])
        self._modulation.copy_(own[:, :, None])
        self._modulation[:, 2:4].add_(1)
        for part, side in enumerate(("weight", "bias")):
            norms = [getattr(b.cross_norm, side) for b in blocks]
            self._cross_norm[part].copy_(torch.stack(norms))
        scales = torch.stack([b.self_attn.log_scale.flatten() for b in blocks])
        self._head_scale.copy_(scales.float().clamp_max(MAX_HEAD_SCALE).exp())
        self._qkv_bias[:, 0].copy_(torch.stack([b.self_attn.q_bias for b in blocks]))
        self._qkv_bias[:, 2].copy_(torch.stack([b.self_attn.v_bias for b in blocks]))
        self._kv_bias[:, 1].copy_(torch.stack([b.cross_attn.v_bias for b in blocks]))

    def _pool(self, model: InfinityTransformer, text: Tensor, bucket: int) -> Tensor:
        """``TextPool`` of padded rows: [bucket R, Ct] -> [R, C]."""
        pool = model.text_pool
        _, heads, size = pool.query.shape
        kv = linear_fp32(text, pool.to_kv).view(bucket, self.rows, 2, heads, size)
        k, v = kv.permute(2, 1, 3, 0, 4)  # [R, heads, bucket, size]
        v = v + pool.v_bias.float().view(heads, 1, size)
        query = pool.query.float().transpose(0, 1).expand(self.rows, -1, -1, -1)
        places = torch.arange(bucket, device=text.device)
        mask = (places < self.lengths[:, None])[:, None, None]
        seen = attention(query, k.contiguous(), v, size**-0.5, mask)
        return linear_fp32(seen.reshape(self.rows, -1), pool.proj)

"""The Infinity transformer: weights in, no state. The scale loop lives in ``sampling``."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from ..ops.adaln import modulated_norm
from .blocks import Block, BlockContext
from .config import TransformerConfig
from .replay import has_moved
from .text import PackedText, RMSNorm, TextPool, TextProjection, linear_fp32, pad_rows


class TextEnds(Protocol):
    """What both ends of the network need of the text: see ``TextContext``."""

    @property
    def pooled(self) -> Tensor: ...

    @property
    def head(self) -> tuple[Tensor, Tensor]: ...


@dataclass(frozen=True)
class TextContext:
    """What one run derives from its prompts, once.

    Attributes:
        pooled: [R, C] float32, the first token and the head's modulation come from it.
        normed: packed, normalised text of all rows (conditional, then unconditional).
        projected: [sum(lengths), C] float32, text for cross-attention, packed.
        shared: [R, 6, C] float32, modulation shared by all blocks.
        head: (gain, shift) of the head's norm, each [R, C] float32.
        blocks: one context per block.
    """

    pooled: Tensor
    normed: PackedText
    projected: Tensor
    shared: Tensor
    head: tuple[Tensor, Tensor]
    blocks: tuple[BlockContext, ...]

    def from_row(self, first: int) -> TextContext:
        """The same from row ``first`` on, as views; packed text stays that of all rows."""
        return dataclasses.replace(
            self, pooled=self.pooled[first:], shared=self.shared[first:],
            head=(self.head[0][first:], self.head[1][first:]),
            blocks=tuple(block.from_row(first) for block in self.blocks),
        )


class InfinityTransformer(ModelMixin, ConfigMixin):
    """The weights of an Infinity transformer. ``SamplingRun`` runs it; it has no ``forward`` of its
    own.

    In half precision only the blocks are narrow. Norms, modulation, text projections and the head
    keep float32, as in the official inference.

    Args:
        depth: the number of blocks.
        width: the number of channels C of the residual.
        num_heads: the number of attention heads. The size of a head, C / num_heads, is a multiple
            of 4.
        bits_per_token: the number of bits d that are predicted for each token.
        text_channels: the number of channels of the text encoder's features.
        text_max_length: the number of rows of the learned empty text.
        pool_heads: the number of heads of the text pooling. 0 = as in the official code.
        mlp_hidden: the hidden width of the feed-forward. 0 = as in the official code.
        spatial_patchify: True = a token holds 2 x 2 latent pixels, as in the 8B models.
        block_chunks: into how many groups the official checkpoint puts its blocks.
        level_embed_every_chunk: True = the level embedding is added before every group. False =
            before the first block alone, as in every released model.
        num_levels: the number of rows of the level embedding, the most scales that the model can
            run.
        family: "infinity" = the model draws from text. "varedit" = it edits a picture.

    Raises:
        ValueError: the numbers do not go together.
    """

    _keep_in_fp32_modules: ClassVar[list[str]] = [
        "null_text", "start", "text_norm", "text_pool", "text_proj", "level_embed",
        "token_embed", "shared_modulation", "head_modulation", "head",
    ]
    _no_split_modules: ClassVar[list[str]] = ["Block"]

    @register_to_config
    def __init__(
        self,
        depth: int,
        width: int,
        num_heads: int,
        bits_per_token: int,
        text_channels: int = 2048,
        text_max_length: int = 512,
        pool_heads: int = 0,
        mlp_hidden: int = 0,
        spatial_patchify: bool = False,
        block_chunks: int = 1,
        level_embed_every_chunk: bool = False,
        num_levels: int = 15,
        family: str = "infinity",
    ) -> None:
        super().__init__()
        c = self.shape = TransformerConfig(
            depth, width, num_heads, bits_per_token, text_channels, text_max_length, pool_heads,
            mlp_hidden, spatial_patchify, block_chunks, level_embed_every_chunk, num_levels,
            family,
        )
        # 1. text
        self.null_text = nn.Parameter(torch.empty(c.text_max_length, c.text_channels))
        self.text_norm = RMSNorm(c.text_channels)
        self.text_pool = TextPool(c.text_channels, c.width, c.pool_heads)
        self.text_proj = TextProjection(c.text_channels, c.width)
        # 2. tokens
        self.start = nn.Parameter(torch.empty(1, 1, c.width))
        self.level_embed = nn.Embedding(c.num_levels, c.width)
        self.token_embed = nn.Linear(c.bits_per_token, c.width)
        # 3. blocks
        self.shared_modulation = nn.Linear(c.width, 6 * c.width)
        self.blocks = nn.ModuleList(Block(c) for _ in range(c.depth))
        # 4. head
        self.head_modulation = nn.Linear(c.width, 2 * c.width)
        self.head = nn.Linear(c.width, 2 * c.bits_per_token)

    @classmethod
    def from_shape(cls, shape: TransformerConfig) -> InfinityTransformer:
        """A transformer of this shape, before its weights are loaded."""
        return cls(**shape.to_dict())

    @property
    def compute_dtype(self) -> torch.dtype:
        """The dtype of the matrix products of the blocks."""
        return self.block(0).dtype

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """What torch moves and casts modules with: what was recorded on the weights is freed."""
        found = super()._apply(fn, recurse)
        has_moved(self)
        return found

    def block(self, layer: int) -> Block:
        """A block by its number, from 0."""
        return self.blocks[layer]  # type: ignore[return-value]  # nn.ModuleList is untyped

    def null_rows(self, lengths: tuple[int, ...]) -> PackedText:
        """The learned empty text, cut to the given lengths in text tokens.

        Raises:
            ValueError: a length is more than the model has rows.
        """
        longest, available = max(lengths), self.null_text.shape[0]
        if longest > available:
            raise ValueError(
                f"a prompt has {longest} text tokens, but the model's null text has only "
                f"{available}: shorten the prompt"
            )
        return PackedText(torch.cat([self.null_text[:n].float() for n in lengths]), lengths)

    def prepare_text(self, text: PackedText) -> TextContext:
        """Compute everything that depends on the text alone, once for a run.

        Args:
            text: the text encoder's features of all R rows, conditional rows first.

        Raises:
            ValueError: the features have another number of channels than the model expects.
        """
        if text.features.shape[1] != self.shape.text_channels:
            raise ValueError(
                f"text features have {text.features.shape[1]} channels, the model expects "
                f"{self.shape.text_channels}: is this the right text encoder?"
            )
        normed = PackedText(self.text_norm(text.features), text.lengths)
        projected = self.text_proj(normed.features)
        padded, mask = pad_rows(projected.split(text.lengths))
        pooled = self.text_pool(normed)
        activated = F.silu(pooled)
        shared = linear_fp32(activated, self.shared_modulation).unflatten(-1, (6, -1))
        scale, shift = linear_fp32(activated, self.head_modulation).chunk(2, dim=-1)
        return TextContext(
            pooled=pooled,
            normed=normed,
            projected=projected,
            shared=shared,
            head=((1 + scale).contiguous(), shift.contiguous()),
            blocks=tuple(
                self.block(layer).prepare(shared, padded, mask)
                for layer in range(self.shape.depth)
            ),
        )

    def first_tokens(self, text: TextEnds) -> Tensor:
        """The input of the first scale, before the level embedding: [R, 1, C] float32."""
        return text.pooled[:, None] + self.start.float()

    def embed_codes(self, codes: Tensor) -> Tensor:
        """The input of a later scale, before the level embedding.

        Args:
            codes: [B, d, h, w], the summed codes, resampled to the grid of the scale and, with
                ``spatial_patchify``, already folded.

        Returns:
            [B, h w, C] float32.
        """
        return linear_fp32(codes.flatten(2).transpose(1, 2), self.token_embed)

    def logits(self, x: Tensor, text: TextEnds) -> Tensor:
        """The logits of the bits.

        Args:
            x: [R, N, C], the residual after the last block.
            text: the result of :meth:`prepare_text`.

        Returns:
            [R, N, 2 d] float32. Entry 2 j + c is the logit of bit j being c.
        """
        gain, shift = text.head
        rows = x.shape[0]
        return linear_fp32(modulated_norm(x, gain[:rows], shift[:rows], torch.float32), self.head)

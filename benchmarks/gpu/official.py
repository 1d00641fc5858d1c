"""The official program as a contender: text encoder, loop and decoder as they run there.

The text encoder works on prompts padded to 512 tokens. The loop is ``benchmarks.reference_loop``,
with its norm compiled as the official one is. The decoder has float32 weights under bfloat16
autocast, in torch's default memory layout, group norms and swish as separate float32 operations.

Two things are kinder than the official code, and so against us: its text encoder's weights are
half precision here throughout (transformers keeps one product of each layer in float32 when it
loads float16), and autocast's own work on the host is left out of the loop.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.gpu.engine import SEED
from benchmarks.gpu.models import Subject
from benchmarks.gpu.timing import Clock
from benchmarks.reference_loop import Norm, ada_layer_norm, reference_scales
from toprovar.models.autoencoder import InfinityAutoencoder
from toprovar.models.text import PackedText


class Official:
    """One prompt, or several of a batch."""

    def __init__(self, subject: Subject, images: int = 1, name: str = "official") -> None:
        self.name, self.subject, self.images = name, subject, images
        self.vae = copy.deepcopy(subject.pipeline.vae).float()
        self.norm: Norm = ada_layer_norm
        self.notes: tuple[str, ...] = ()
        if subject.device.type == "cuda":
            self._compile()

    def _compile(self) -> None:
        """Compile the norm, or note why it could not be."""
        torch._dynamo.config.recompile_limit = 64  # as the official program sets it
        compiled = torch.compile(ada_layer_norm, fullgraph=True)
        width, device = self.subject.shape.width, self.subject.device
        try:
            with torch.inference_mode():
                for tokens in (1, 4, 16):
                    x, scale = (torch.randn(2, n, width, device=device) for n in (tokens, 1))
                    compiled(x, scale, scale)
        except Exception as error:
            self.notes = (f"the official loop's norm ran uncompiled: {type(error).__name__}: "
                          f"{str(error)[:200]}",)
            return
        self.norm = compiled

    def picture(self, clock: Clock) -> None:
        own = self.subject
        text = self.encode(own.prompts(self.images))
        clock.mark("text")
        codes = torch.empty(0)
        scales = reference_scales(
            own.pipeline.transformer, text, own.params,
            torch.Generator(own.device).manual_seed(SEED), self.norm,
        )
        for i, (summed, _) in enumerate(scales):
            codes = summed
            clock.mark(f"scale {i}")
        image = decode(self.vae, codes)
        ((image + 1) / 2).permute(0, 2, 3, 1).mul_(255).to(torch.uint8).flip(3).cpu().numpy()
        clock.mark("decode")

    @torch.inference_mode()
    def encode(self, prompts: list[str]) -> PackedText:
        """Features of prompts padded to the text's greatest length."""
        own = self.subject
        tokens = own.pipeline.tokenizer(
            text=prompts, max_length=own.shape.text_max_length, padding="max_length",
            truncation=True, return_tensors="pt",
        )
        mask = tokens.attention_mask.to(own.device)
        features = own.pipeline.text_encoder(
            input_ids=tokens.input_ids.to(own.device), attention_mask=mask
        ).last_hidden_state.float()
        lengths = tuple(mask.sum(-1).tolist())
        return PackedText(
            torch.cat([row[:n] for row, n in zip(features, lengths, strict=True)]), lengths
        )


@torch.inference_mode()
def decode(vae: InfinityAutoencoder, codes: Tensor) -> Tensor:
    """[B, d, h, w] -> [B, 3, H, W] in [-1, 1], in the official way: see above."""
    decoder: Any = vae.decoder
    patch = vae.shape.stem_patch
    with torch.autocast(codes.device.type, torch.bfloat16):
        x = decoder.conv_in(codes)
        for block in decoder.mid:
            x = _residual(block, x)
        for level in reversed(list(decoder.levels)):
            for block in level.blocks:
                x = _residual(block, x)
            if level.step is not None:
                x = F.interpolate(x, scale_factor=2.0, mode="nearest")
                x = level.step.conv(x)
        x = decoder.conv_out(_swish(decoder.norm_out(x)))
    return (F.pixel_shuffle(x, patch) if patch > 1 else x).clamp(-1, 1)


def _residual(block: Any, x: Tensor) -> Tensor:
    y = block.conv1(_swish(block.norm1(x)))
    y = block.conv2(_swish(block.norm2(y)))
    return block.shortcut(x) + y


def _swish(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)

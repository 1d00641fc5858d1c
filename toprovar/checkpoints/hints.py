"""What a file that is no Infinity checkpoint seems to be, judged by a few of its keys."""

from __future__ import annotations

import re
from collections.abc import Iterable

ADAPTER = "a LoRA (adapter weights, not a model)"

_HINTS = tuple((what, re.compile(pattern)) for what, pattern in (
    (ADAPTER, r"lora_(A|B|up|down|unet|te)|\.lora\."),
    ("a T5 text encoder (it is given as a folder, with config.json and tokenizer)",
     r"(^|\.)encoder\.block\.\d+\.layer\.\d+\.(SelfAttention|DenseReluDense)"),
    ("a CLIP text encoder", r"text_model\.encoder\.layers\.|(^|\.)transformer\.resblocks\."),
    ("a Stable Diffusion checkpoint",
     r"model\.diffusion_model\.|first_stage_model\.|cond_stage_model\.|conditioner\.embedders"),
    ("a diffusion UNet", r"(^|\.)(down_blocks|up_blocks|mid_block|input_blocks)\."),
    ("a Stable Diffusion autoencoder",
     r"(encoder|decoder)\.mid\.attn_1\.|^(post_)?quant_conv\.weight"),
    ("a Flux model", r"double_blocks\.\d+\.|single_transformer_blocks\."),
    ("a DiT or SD3 model", r"joint_blocks\.|transformer_blocks\.\d+\."),
    ("a VAR model (class-conditional, not Infinity)", r"blocks\.\d+\.attn\.mat_qkv"),
    ("a language model", r"(^|\.)layers\.\d+\.self_attn\.[qk]_proj|(^|\.)h\.\d+\.attn\.c_attn"),
    ("optimizer state without a model", r"exp_avg(_sq)?$"),
))


def is_adapter(keys: Iterable[str]) -> bool:
    return any(_HINTS[0][1].search(key) for key in keys)


def what_else(keys: Iterable[str]) -> str | None:
    """The first known kind of file that any of the keys points to."""
    keys = list(keys)
    for what, pattern in _HINTS:
        if any(pattern.search(key) for key in keys):
            return what
    return None

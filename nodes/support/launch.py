"""What ComfyUI was started with, as far as it concerns a model, and what of it has no effect.

``--fp16-unet`` and its like are what a loader's *auto* means, as in ComfyUI's own loaders; those of
the VAE and of the text encoder hold whatever the loader's *dtype* is. Where devices and memory are
concerned ComfyUI's manager is asked instead (``infinity.py``, ``residing.py``).
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from .host import launch_arguments, manager

AUTO = "auto"


class Precisions(NamedTuple):
    """dtype of each part's weights."""

    transformer: torch.dtype
    vae: torch.dtype
    text_encoder: torch.dtype


def precisions(chosen: str, device: torch.device) -> Precisions:
    """What the parts of a model are loaded in.

    Args:
        chosen: the loader's ``dtype``: a name, or "auto".
        device: where the model works.
    """
    from ...toprovar.devices import choose_dtype

    plain = choose_dtype(chosen, device)
    if chosen == AUTO and _given("force_fp32"):
        plain = torch.float32
    own = None if chosen != AUTO else _first(
        ("fp32_unet", torch.float32), ("bf16_unet", torch.bfloat16),
        ("fp16_unet", torch.float16), ("force_fp16", torch.float16))
    vae = _first(("fp16_vae", torch.float16), ("bf16_vae", torch.bfloat16),
                 ("fp32_vae", torch.float32))
    text = _first(("fp16_text_enc", torch.float16), ("bf16_text_enc", torch.bfloat16),
                  ("fp32_text_enc", torch.float32))
    return Precisions(own or plain, vae or plain, text or plain)


def narrow_weights() -> bool:
    """Whether the blocks' weights are to be kept in 8 bits (``--fp8_e4m3fn-unet``)."""
    return _given("fp8_e4m3fn_unet")


def records() -> bool | None:
    """Whether work on a GPU may be recorded as CUDA graphs; None = as the engine likes."""
    return False if _given("disable_cuda_graphs") else None


def copies_files() -> bool:
    """Whether files are to be read whole instead of mapped (``--disable-mmap``)."""
    return _given("disable_mmap")


WITHOUT_EFFECT = (
    (("use_split_cross_attention", "use_quad_cross_attention", "use_sage_attention",
      "use_flash_attention", "use_ck_attention"),
     "Infinity's attention is always PyTorch's own; the loader's attention chooses among its "
     "kernels"),
    (("force_upcast_attention",),
     "Infinity's softmax is computed in float32 as it is; dtype float32 widens the rest"),
    (("fp64_unet", "fp8_e5m2_unet", "fp8_e8m0fnu_unet"),
     "Infinity's weights are float32, bfloat16, float16, or 8 bits in the form e4m3; choose with "
     "dtype and memory"),
    (("fp8_e4m3fn_text_enc", "fp8_e5m2_text_enc"),
     "Infinity's text encoder is not kept in 8 bits; it leaves the GPU where room is short"),
    (("force_channels_last",), "Infinity's transformer has no images inside, and its VAE lies that "
                               "way already"),
    (("disable_pinned_memory",), "what waits in host memory for Infinity is page-locked all the "
                                 "same; memory auto uses it only where a model does not fit"),
)
"""Arguments that change nothing here, and why, in words that go on after "it has no effect: "."""


def without_effect() -> list[str]:
    """A sentence for each argument of this ComfyUI's start that does nothing to a model."""
    found = [(name, why) for names, why in WITHOUT_EFFECT for name in names if _given(name)]
    reason = why_not_narrow() if narrow_weights() else None
    if reason is not None:
        found.append(("fp8_e4m3fn_unet", f"{reason}; the weights are kept in dtype"))
    return [f"--{_spelled(name)} has no effect here: {why}." for name, why in found]


def why_not_narrow() -> str | None:
    """Why weights cannot be kept in 8 bits on the device at hand; None = they can."""
    from ...toprovar.ops.fp8_linear import why_no_fp8

    device = manager.get_torch_device()
    return why_no_fp8(device) if device.type == "cuda" else None


def _spelled(name: str) -> str:
    """As on the command line: ComfyUI writes the kinds of 8-bit numbers with underscores."""
    parts = name.split("_")
    if parts[0] == "fp8" and parts[1] != "unet":
        return "-".join([f"{parts[0]}_{parts[1]}", *parts[2:]])
    return "-".join(parts)


def _given(name: str) -> bool:
    """Whether a switch is on; those that this ComfyUI does not know are off."""
    return bool(getattr(launch_arguments, name, False))


def _first(*choices: tuple[str, torch.dtype]) -> torch.dtype | None:
    return next((dtype for name, dtype in choices if _given(name)), None)

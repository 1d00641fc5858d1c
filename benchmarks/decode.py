"""Picture and text at the ends of a run: the VAE's decoder and the T5 encoder, plain and ours.

    python -m benchmarks.decode --device cuda [--rounds 15] [--size 1024] [--json FILE]

Random weights in the released shapes (d32; flan-t5-xl's encoder). In each round every form runs
once, in turn; medians are quoted, in milliseconds of the device. Errors are against float32 with
TF32 off. "ours" is what a pipeline runs: replayed from a CUDA graph where there is one. --quick
takes tiny shapes, for a look at the program itself.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.machine import describe, synchronise
from toprovar.devices import choose_device
from toprovar.files import replace_file
from toprovar.models.autoencoder import InfinityAutoencoder, Upsample, to_uint8
from toprovar.models.config import AutoencoderConfig
from toprovar.models.decoding import DecodeRunner, finish_image, why_plain
from toprovar.models.fast_decoder import fixed_algorithms
from toprovar.models.text_runner import BUCKET, EncodeRunner
from toprovar.models.variants import autoencoder_variants
from toprovar.ops import group_norm_silu as gns

Forms = Mapping[str, Callable[[], Tensor]]
PROMPT_TOKENS = 24
OFFICIAL_TOKENS = 512
T5_XL = {"vocab_size": 32128, "d_model": 2048, "d_ff": 5120, "num_layers": 24, "num_heads": 32,
         "d_kv": 64}
T5_TINY = {"vocab_size": 64, "d_model": 32, "d_ff": 48, "num_layers": 2, "num_heads": 2, "d_kv": 16}
VAE_TINY = AutoencoderConfig(8, 32, (1, 2, 2), 1, 4)


def milliseconds(call: Callable[[], object], device: torch.device) -> float:
    """Of one call, on the device's clock where it has one."""
    if device.type != "cuda":
        started = time.perf_counter()
        call()
        return (time.perf_counter() - started) * 1e3
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def in_turn(forms: Forms, device: torch.device, rounds: int) -> dict[str, float]:
    """Median milliseconds of each form."""
    for call in forms.values():
        for _ in range(3):  # kernels are compiled and chosen, shapes recorded
            call()
    synchronise(device)
    found: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(rounds):
        for name, call in forms.items():
            found[name].append(milliseconds(call, device))
    return {name: median(times) for name, times in found.items()}


def peak(call: Callable[[], object], device: torch.device) -> int | None:
    """Bytes at most above what is allocated before, of a call that has run before."""
    if device.type != "cuda":
        return None
    call()
    synchronise(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    synchronise(device)
    return torch.cuda.max_memory_allocated(device) - before


def relative(found: Tensor, exact: Tensor) -> float:
    return ((found.double() - exact.double()).norm() / exact.double().norm()).item()


def random_vae(shape: AutoencoderConfig, codes: Tensor) -> InfinityAutoencoder:
    """Float32 on the codes' device, whose pictures use the range of 8 bits."""
    torch.manual_seed(0)
    vae: Any = InfinityAutoencoder.from_shape(shape)
    vae = vae.to(codes.device).eval().requires_grad_(False)
    with torch.inference_mode():
        spread = vae.decoder(codes).std()
    vae.decoder.conv_out.weight.mul_(0.4 / spread)
    vae.decoder.conv_out.bias.zero_()
    return vae


def decoder(shape: AutoencoderConfig, size: int, device: torch.device, rounds: int,
            dtype: torch.dtype) -> dict[str, Any]:
    """Times, errors and memory of each form of the decode of one picture."""
    side = size // shape.stride
    generator = torch.Generator().manual_seed(1)
    codes = torch.randn(1, shape.latent_channels, side, side, generator=generator).to(device) / 2
    vae: Any = random_vae(shape, codes)
    with torch.inference_mode():
        exact = vae.decode(codes)
        times = in_turn({"plain float32": lambda: vae.decode(codes)}, device, min(3, rounds))
        vae = vae.to(dtype)
        why, runner = why_plain(vae), DecodeRunner(vae)
        held = None if why else _held(lambda: runner(codes), device)

        def plain(layout: torch.memory_format) -> Tensor:
            narrow = codes.to(dtype).contiguous(memory_format=layout)
            return finish_image(vae.decoder(narrow), shape.stem_patch)

        forms: dict[str, Callable[[], Tensor]] = {
            "plain": lambda: plain(torch.contiguous_format),
            "plain, channels last": lambda: plain(torch.channels_last),
            "ours, step by step": lambda: runner(codes, graph=False),
        }
        if why is None:
            forms["ours"] = lambda: runner(codes)
        errors = {name: _picture_errors(call(), exact) for name, call in forms.items()}
        memory = {name: peak(call, device) for name, call in forms.items()}
        times |= in_turn(forms, device, rounds)
    return {
        "shape": shape.to_dict(), "size": size, "dtype": str(dtype), "why_not_ours": why,
        "recorded": any(runner.replays.recorded()), "milliseconds": times, "errors": errors,
        "peak_bytes": memory, "held_bytes": held,
        "operations": decoder_operations(shape, side, side),
        "ratios_to_plain": {name: times["plain"] / ms for name, ms in times.items()},
    }


def _held(call: Callable[[], object], device: torch.device) -> int:
    """Bytes that stay taken after a shape was recorded, weights and graph's scratch."""
    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved(device)
    for _ in range(3):
        call()
    synchronise(device)
    torch.cuda.empty_cache()
    return torch.cuda.memory_reserved(device) - before


def _picture_errors(found: Tensor, exact: Tensor) -> dict[str, float]:
    levels = (to_uint8(found).int() - to_uint8(exact).int()).abs()
    return {"relative_l2": relative(found, exact), "levels_max": levels.max().item(),
            "levels_mean": levels.float().mean().item()}


def decoder_operations(shape: AutoencoderConfig, height: int, width: int) -> dict[str, int]:
    """Multiply-adds x 2 of the convolutions of one decode: as defined, and with phases."""
    with torch.device("meta"):
        model: Any = InfinityAutoencoder.from_shape(shape)
    counted = {"all": 0, "upsampling": 0}

    def count(module: Any, _: Any, output: Any) -> None:
        upsampling = isinstance(module, Upsample)
        weight = module.conv.weight if upsampling else module.weight
        counted["upsampling" if upsampling else "all"] += \
            2 * weight.numel() * output.shape[-1] * output.shape[-2]

    for module in model.decoder.modules():
        if isinstance(module, (torch.nn.Conv2d, Upsample)):
            module.register_forward_hook(count)
    model.decoder(torch.empty(1, shape.latent_channels, height, width, device="meta"))
    return {"plain": counted["all"], "ours": counted["all"] - counted["upsampling"] * 5 // 9}


def passes(channels: int, side: int, device: torch.device, rounds: int, dtype: torch.dtype
           ) -> dict[str, Any]:
    """Each pass over the finest level's picture, and its convolutions, by themselves."""
    def picture(c: int, n: int) -> Tensor:
        x = torch.randn(1, c, n, n, device=device).to(dtype)
        return x.contiguous(memory_format=torch.channels_last)

    def weight(*sizes: int) -> Tensor:
        w = torch.randn(*sizes, device=device) / (sizes[1] * sizes[2] * sizes[3]) ** 0.5
        return w.to(dtype).contiguous(memory_format=torch.channels_last)

    wide = 2 * channels
    x, residual, large = picture(channels, side), picture(channels, side), picture(wide, side)
    small, phases = picture(wide, side // 2), picture(4 * wide, side // 2 + 1)
    offset, ones = torch.zeros(channels, device=device), torch.ones(wide, device=device)
    norm, wide_norm = gns.Norm(ones[:channels], offset, 32), gns.Norm(ones, ones, 32)
    affine = gns.norm_affine(x, norm, offset)
    conv, conv_wide = weight(channels, channels, 3, 3), weight(wide, wide, 3, 3)
    conv_phases, conv_out = weight(4 * wide, wide, 2, 2), weight(8, channels, 3, 3)
    size, flops = x.numel() * x.element_size(), 18 * channels**2 * side**2
    # name: bytes that must move, operations, call
    table: dict[str, tuple[int, int, Callable[[], Any]]] = {
        "norm_affine": (size, 0, lambda: gns.norm_affine(x, norm, offset)),
        "affine_silu": (2 * size, 0, lambda: gns.affine_silu(x, affine)),
        "affine_silu, in place": (2 * size, 0, lambda: gns.affine_silu(residual, affine, True)),
        "sum_affine_": (3 * size, 0, lambda: gns.sum_affine_(x, residual, offset, norm)),
        "sum_affine_, phases": (4 * size, 0, lambda: gns.sum_affine_(
            phases, None, None, wide_norm, phases=True)),
        "torch group_norm and silu": (3 * size, 0, lambda: F.silu(
            F.group_norm(x, 32, norm.weight.to(dtype), norm.bias.to(dtype), 1e-6))),
        "conv 3 x 3": (2 * size, flops, lambda: F.conv2d(x, conv, padding=1)),
        "conv to 8 channels": (size, flops * 8 // channels,
                               lambda: F.conv2d(x, conv_out, padding=1)),
        "conv to 3 channels": (size, flops * 3 // channels,
                               lambda: F.conv2d(x, conv_out[:3], padding=1)),
        "upsample and conv": (4 * size, 4 * flops, lambda: F.conv2d(
            F.interpolate(small, scale_factor=2.0, mode="nearest"), conv_wide, padding=1)),
        "conv of the doubled picture": (4 * size, 4 * flops,
                                        lambda: F.conv2d(large, conv_wide, padding=1)),
        "conv in phases": (2 * size, 16 * flops // 9,
                           lambda: F.conv2d(small, conv_phases, padding=1)),
    }
    with torch.inference_mode(), fixed_algorithms():
        times = in_turn({name: call for name, (_, _, call) in table.items()}, device, rounds)
    return {name: {"milliseconds": ms, "bytes": table[name][0], "operations": table[name][1]}
            for name, ms in times.items()}


def text(shape: Mapping[str, int], device: torch.device, rounds: int, dtype: torch.dtype
         ) -> dict[str, Any]:
    """Times and errors of each form of encoding one prompt of ``PROMPT_TOKENS`` tokens."""
    import transformers

    torch.manual_seed(0)
    settings: dict[str, Any] = {**shape, "feed_forward_proj": "gated-gelu", "dropout_rate": 0.0}
    config = transformers.T5Config(**settings)
    with device:
        encoder: Any = transformers.T5EncoderModel(config).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, shape["vocab_size"], (1, PROMPT_TOKENS), generator=generator).to(device)

    def padded(to: int) -> tuple[Tensor, Tensor]:
        short = (0, to - PROMPT_TOKENS)
        return F.pad(ids, short), F.pad(torch.ones_like(ids), short)

    def plain(to: int) -> Callable[[], Tensor]:
        given, mask = padded(to)
        return lambda: encoder(input_ids=given, attention_mask=mask).last_hidden_state

    with torch.inference_mode():
        exact = plain(PROMPT_TOKENS)()
        encoder = encoder.to(dtype)
        runner, (given, mask) = EncodeRunner(encoder), padded(BUCKET)
        forms: dict[str, Callable[[], Tensor]] = {
            f"plain, {OFFICIAL_TOKENS} tokens": plain(OFFICIAL_TOKENS),
            "plain, own length": plain(PROMPT_TOKENS),
            "ours, step by step": lambda: runner(encoder, given, mask, False),
            "ours": lambda: runner(encoder, given, mask, None),
        }
        errors = {name: relative(call()[:, :PROMPT_TOKENS], exact) for name, call in forms.items()}
        times = in_turn(forms, device, rounds)
    first = times[f"plain, {OFFICIAL_TOKENS} tokens"]
    return {"shape": dict(shape), "tokens": PROMPT_TOKENS, "dtype": str(dtype),
            "recorded": any(runner.replays.recorded()), "milliseconds": times, "errors": errors,
            "ratios_to_official_length": {name: first / ms for name, ms in times.items()}}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--size", type=int, default=1024, help="pixels a side")
    parser.add_argument("--only", choices=("decoder", "passes", "text"))
    parser.add_argument("--quick", action="store_true", help="tiny shapes")
    parser.add_argument("--json", type=Path, help="write the result here")
    arguments = parser.parse_args(argv)
    device, quick, rounds = choose_device(arguments.device), arguments.quick, arguments.rounds
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    dtype = torch.bfloat16
    size = 32 if quick else arguments.size
    vae = VAE_TINY if quick else autoencoder_variants()["d32"].config
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "decoder": lambda: decoder(vae, size, device, rounds, dtype),
        "passes": lambda: passes(vae.base_channels, size, device, rounds, dtype),
        "text": lambda: text(T5_TINY if quick else T5_XL, device, rounds, dtype),
    }
    result: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.decode", *(argv or sys.argv[1:])]),
        "machine": describe(device),
    }
    for name, part in parts.items():
        if arguments.only in (None, name):
            result[name] = part()
            print(json.dumps({name: result[name]}, indent=1), flush=True)
        if arguments.json:  # after each part: a later one may fail
            replace_file(arguments.json, (json.dumps(result, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

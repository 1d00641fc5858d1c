"""The kernels' compilations that ``benchmarks.compile_kernels`` makes: widths of the decoders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..registry import Kernel
from . import triton
from .tiles import Tiles, finish_block

WIDTHS = (128, 256, 512)
TYPES = ("bf16", "fp16", "fp32")
GROUPS = 32


def kernels(name: str) -> list[Kernel]:
    """Of one of the operations."""
    if name == "affine_silu":
        return [_scale(channels, dtype) for channels in WIDTHS for dtype in TYPES]
    if name == "sum_channels_":
        return [_sum(c, t, residual=True, offset=True, statistics=False)
                for c in WIDTHS for t in TYPES]
    if name == "sum_affine_":
        return [
            _sum(c, t, residual=not phases, offset=True, phases=phases)
            for c in WIDTHS for t in TYPES for phases in (False, True)
        ] + [_finish(c, offset=False) for c in WIDTHS]
    return [_sum(c, t, store=False) for c in WIDTHS for t in TYPES] \
        + [_finish(c, offset=True) for c in WIDTHS]


def _sum(
    channels: int, dtype: str, residual: bool = False, offset: bool = False, phases: bool = False,
    store: bool = True, statistics: bool = True,
) -> Kernel:
    tiles = Tiles.to_sum(channels, 1 << 20)
    absent = {"residual": residual, "offset": offset, "total": store, "partial": statistics}
    pointers = {"x": f"*{dtype}", "residual": f"*{dtype}", "offset": "*fp32",
                "total": f"*{dtype}", "partial": "*fp32"}
    what = ", phases" if phases else ", residual" if residual else ""
    return _kernel(
        f"{dtype}, {channels} channels, sum{what}{'' if statistics else ', no norm'}",
        triton.sum_pixels, pointers, ("x_image",), ("pixels", "width", "tiles"),
        {"CHANNELS": channels, "HAS_RESIDUAL": residual, "HAS_OFFSET": offset, "PHASES": phases,
         "STORE": store, "STATISTICS": statistics, "PIXELS": tiles.pixels, "BLOCK": tiles.block},
        [name for name, there in absent.items() if not there], tiles.warps, dtype == "bf16",
        triton.options(phases),
    )


def _scale(channels: int, dtype: str) -> Kernel:
    tiles = Tiles.to_apply(channels, 1 << 20)
    pointers = {"x": f"*{dtype}", "scale": "*fp32", "shift": "*fp32", "out": f"*{dtype}"}
    return _kernel(
        f"{dtype}, {channels} channels", triton.scale_silu, pointers, (), ("pixels", "tiles"),
        {"CHANNELS": channels, "PIXELS": tiles.pixels, "BLOCK": tiles.block}, (), tiles.warps,
        dtype == "bf16",
    )


def _finish(channels: int, offset: bool) -> Kernel:
    size = channels // GROUPS
    rows, block = finish_block(size)
    names = ("partial", "weight", "bias", "offset", "scale", "shift")
    return _kernel(
        f"{channels} channels, joining{', offset' if offset else ''}", triton.finish_groups,
        dict.fromkeys(names, "*fp32"), (), ("chunks", "chunk_pixels", "pixels"),
        {"CHANNELS": channels, "SIZE": size, "HAS_OFFSET": offset, "CHUNKS": rows, "BLOCK": block},
        () if offset else ("offset",), 4, channels == WIDTHS[0],
    )


def _kernel(
    label: str, function: Any, pointers: Mapping[str, str], round_sizes: tuple[str, ...],
    sizes: tuple[str, ...], flags: Mapping[str, Any], absent: Iterable[str], warps: int,
    quick: bool, more: Mapping[str, int] | None = None,
) -> Kernel:
    """``round_sizes`` are multiples of 16 in real calls."""
    constants = {**flags, **dict.fromkeys(absent)}
    kinds = {**pointers, **dict.fromkeys((*round_sizes, *sizes), "i32"), "eps": "fp32",
             **dict.fromkeys(constants, "constexpr")}
    return Kernel(
        label=label, function=function,
        signature={name: kinds[name] for name in function.arg_names}, constants=constants,
        aligned=tuple(n for n in (*pointers, *round_sizes) if n not in constants),
        options={"num_warps": warps, **(more or {})}, quick=quick,
    )

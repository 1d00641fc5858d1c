"""Every compilation of the Triton kernel that calls on a given GPU can ask for."""

from __future__ import annotations

from ..attention_entropy.triton import MEAN, NONE, PER_HEAD
from ..attention_entropy.variants import NAMES, STRIDES, TYPES
from ..registry import Kernel
from . import HEAD_SIZES, tiles
from .kernel import windowed_kernel
from .triton import constants

QUICK = {"bf16": (64, 96, 128, 224), "fp32": (64, 120, 224)}


def kernels(capability: int) -> list[Kernel]:
    """See registry.Op.kernels; means over heads are attention_entropy's kernel.

    The quick list has what the released models run, and the largest forms of each cut of a head.
    """
    return [
        _kernel(capability, narrow, d, dense, mode)
        for narrow in TYPES for d in HEAD_SIZES for dense in (True, False)
        for mode in (NONE, PER_HEAD, MEAN)
    ]


def _kernel(capability: int, narrow: str, d: int, dense: bool, mode: int) -> Kernel:
    pointer, dtype = f"*{narrow}", TYPES[narrow]
    tile = tiles.choose(d, dtype, capability)
    fixed = constants(d, dtype, capability, 16 // dtype.itemsize, dense, mode, tile)
    types = {
        **dict.fromkeys(("q", "k", "v", "out"), pointer),
        "entropy": {NONE: pointer, PER_HEAD: "*fp32", MEAN: "*i64"}[mode],
        "table": "*i32", "counts": "*i32", "c": "fp32",
        **dict.fromkeys(("most", "heads", "height", "width", *STRIDES), "i32"),
        **dict.fromkeys(fixed, "constexpr"),
    }
    label = f"{narrow} D={d} {tile.queries}x{tile.keys} {NAMES[mode]}"
    quick = dense and ((mode == MEAN and d in QUICK.get(narrow, ()))
                       or (narrow, d, mode) == ("bf16", 128, NONE))
    return Kernel(
        label + ("" if dense else ", strided"), windowed_kernel,
        {name: types[name] for name in windowed_kernel.arg_names}, fixed,
        aligned=("q", "k", "v", "out", "entropy", "table", "counts"),
        options={"num_warps": tile.warps, "num_stages": tile.stages, "enable_fp_fusion": True},
        quick=quick,
    )

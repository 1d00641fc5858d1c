"""Every compilation of the Triton kernel that calls on a given GPU can ask for."""

from __future__ import annotations

import torch

from ..registry import Kernel
from . import HEAD_SIZES, tiles
from .kernel import attend_kernel, mean_kernel
from .triton import MEAN, NONE, PER_HEAD, shape_constants

TYPES = {"bf16": torch.bfloat16, "fp32": torch.float32, "fp16": torch.float16}
STRIDES = [f"{x}_{axis}" for x in "qkvo" for axis in "bhn"] + ["e_b", "e_h"]
NAMES = {NONE: "no entropy", PER_HEAD: "entropy", MEAN: "mean entropy"}
KINDS = ((True, PER_HEAD), (True, MEAN), (True, NONE), (False, PER_HEAD), (False, MEAN))


def kernels(capability: int) -> list[Kernel]:
    """See registry.Op.kernels.

    The quick list has every head size in bfloat16 and float32 with the entropy of each head.
    float16 differs in the name of an instruction, means and statistics in the kernel's last lines
    or by doing less; the long list has them all.
    """
    found = []
    for narrow, dtype in TYPES.items():
        for d in HEAD_SIZES:
            seen = set()
            for few, dense in ((False, True), (True, True), (False, False), (True, False)):
                tile = tiles.choose(d, dtype, capability, few, dense)
                if (tile, dense) in seen:
                    continue
                seen.add((tile, dense))
                for values, mode in KINDS:
                    main = values and mode == PER_HEAD
                    if not (dense or main):
                        continue
                    quick = main and narrow != "fp16" and (
                        d == 128 or (dense and not few)) and (narrow != "fp32" or dense)
                    found.append(_kernel(capability, narrow, d, tile, dense, values, mode, quick))
    found.append(Kernel(
        "means over heads", mean_kernel,
        {"sums": "*i64", "entropy": "*fp32", "factor": "fp32", "n": "i32", "e_b": "i32",
         "BLOCK": "constexpr"},
        {"BLOCK": 1024}, aligned=("sums", "entropy"),
    ))
    return found


def _kernel(capability: int, narrow: str, d: int, tile: tiles.Tile, dense: bool, values: bool,
            mode: int, quick: bool) -> Kernel:
    pointer, dtype = f"*{narrow}", TYPES[narrow]
    entropy = {NONE: pointer, PER_HEAD: "*fp32", MEAN: "*i64"}[mode]
    constants = {
        "UNIT": 16 // dtype.itemsize, **shape_constants(d, dtype, capability), "DENSE": dense,
        "VALUES": values, "ENTROPY": mode, "SUBSET": False, "UNEVEN": False,
        "QUERIES": tile.queries, "KEYS": tile.keys, "WALK": tile.walk,
    }
    types = {
        **dict.fromkeys(("q", "k", "v", "out"), pointer), "entropy": entropy, "heads": pointer,
        "c": "fp32", **dict.fromkeys(("count", "n", "m_keys", *STRIDES), "i32"),
        **dict.fromkeys(constants, "constexpr"),
    }
    label = f"{narrow} D={d} {tile.queries}x{tile.keys} {NAMES[mode]}"
    label += ("" if values else " alone") + ("" if dense else ", strided")
    return Kernel(
        label, attend_kernel, {name: types[name] for name in attend_kernel.arg_names}, constants,
        aligned=("q", "k", "v", "out", "entropy", "heads"),
        options={"num_warps": tile.warps, "num_stages": tile.stages, "enable_fp_fusion": True},
        quick=quick,
    )

"""Every compilation of the Triton kernel that calls on a given GPU can ask for."""

from __future__ import annotations

import torch

from ..registry import Kernel
from . import HEAD_SIZES, tiles
from .triton import MEAN, NONE, PER_HEAD, _widths, attend_kernel, mean_kernel

TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
STRIDES = [f"{x}_{axis}" for x in "qkvo" for axis in "bhn"] + ["e_b", "e_h"]
NAMES = {NONE: "no entropy", PER_HEAD: "entropy", MEAN: "mean entropy"}


def kernels(capability: int) -> list[Kernel]:
    """See registry.Op.kernels.

    The quick list has every dtype and head size with the entropy of each head. Means and
    statistics only differ at the kernel's end or do less; the long list has them too.
    """
    found = []
    for narrow, dtype in TYPES.items():
        for d in HEAD_SIZES:
            seen = set()
            for few in (False, True):
                for values, mode in ((True, PER_HEAD), (True, MEAN), (True, NONE),
                                     (False, PER_HEAD), (False, MEAN)):
                    tile = tiles.choose(d, dtype, capability, few, values)
                    if (tile, values, mode) in seen:
                        continue
                    seen.add((tile, values, mode))
                    quick = values and mode == PER_HEAD and (not few or d == 128)
                    found.append(_kernel(narrow, d, tile, values, mode, 16 // dtype.itemsize,
                                         quick))
    found.append(Kernel(
        "means over heads", mean_kernel,
        {"sums": "*i64", "entropy": "*fp32", "factor": "fp32", "n": "i32", "e_b": "i32",
         "BLOCK": "constexpr"},
        {"BLOCK": 1024}, aligned=("sums", "entropy"),
    ))
    return found


def _kernel(narrow: str, d: int, tile: tiles.Tile, values: bool, mode: int, unit: int, quick: bool
            ) -> Kernel:
    pointer = f"*{narrow}"
    entropy = {NONE: pointer, PER_HEAD: "*fp32", MEAN: "*i64"}[mode]
    constants = {
        "UNIT": unit, **_widths(d), "D": d, "CHUNK": 0, "VALUES": values, "ENTROPY": mode, "SUBSET": False,
        "QUERIES": tile.queries, "KEYS": tile.keys,
    }
    signature = {
        **dict.fromkeys(("q", "k", "v", "out"), pointer), "entropy": entropy, "heads": pointer,
        "c": "fp32", **dict.fromkeys(("count", "n", "m_keys", *STRIDES), "i32"),
        **dict.fromkeys(constants, "constexpr"),
    }
    label = f"{narrow} D={d} {tile.queries}x{tile.keys} {NAMES[mode]}"
    return Kernel(
        label if values else f"{label} alone", attend_kernel, signature, constants,
        aligned=("q", "k", "v", "out", "entropy", "heads"),
        options={"num_warps": tile.warps, "num_stages": tile.stages}, quick=quick,
    )

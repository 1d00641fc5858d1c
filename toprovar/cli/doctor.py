"""``toprovar doctor``."""

from __future__ import annotations

import argparse
import json
import platform
from typing import TYPE_CHECKING

from .. import __version__

if TYPE_CHECKING:
    import torch

HEAD_SIZE = 128
"""Of the released models; operations on whole tokens take any multiple of it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.add_argument("--memory", default="auto", metavar="HOW",
                        help="as of 'toprovar generate': say what the released models would do "
                             "with so much, such as 8GB, also without a GPU (default: auto)")


def run(arguments: argparse.Namespace) -> int:
    import torch

    from ..bundled import bundled_model
    from ..devices import DTYPES, choose_device, findings
    from ..memory.foresee import foresee
    from ..memory.request import Allowance
    from ..models.variants import get_variant
    from ..ops.registry import Call, all_ops

    found = {"toprovar": __version__, "python": platform.python_version(),
             "system": platform.platform(), **findings()}
    try:
        found["models"] = [str(bundled_model())]
    except (FileNotFoundError, ValueError) as error:
        found["models"] = [f"none: {error}"]
    call = Call(choose_device(found["use"]["device"]), DTYPES[found["use"]["dtype"]], HEAD_SIZE)
    found["operations"] = {op.name: op.explain(call) for op in all_ops()}
    memory = foresee(torch.device(found["use"]["device"]), _card_dtype(found["use"]["dtype"]),
                     Allowance.parse(arguments.memory))
    found["memory"] = {name: str(plan) for name, plan in memory.items()}
    if arguments.json:
        print(json.dumps(found, indent=1))
        return 0
    print(f"toprovar {found['toprovar']}, Python {found['python']}, {found['system']}")
    print(f"torch {found['torch']}, {found['threads']} threads")
    for name, version in found["packages"].items():
        print(f"{name} {version or 'not installed' + _without(name)}")
    print("devices: " + "; ".join(found["devices"]))
    print("attention backends:")
    for name, state in found["attention"].items():
        print(f"  {name:10} {state}")
    print("operations:")
    for name, backends in found["operations"].items():
        chosen = next((b for b, state in backends.items() if state == "chosen"), "none")
        others = "".join(f"; {b}: {state}" for b, state in backends.items() if b != chosen)
        print(f"  {name:18} {chosen}{others}")
    print("models: " + "; ".join(found["models"]))
    use = found["use"]
    free = use["free_bytes"]
    memory = f", {free / 2**30:.1f} GiB free" if free is not None else ""
    print(f"will use: {use['device']}{memory}, {use['dtype']} ({_why(use)}); attention auto: "
          "torch picks a kernel for each call")
    for name, told in found["memory"].items():
        title = get_variant(name).title.partition(",")[0]
        print(f"{title}, one picture: {told}")
    return 0


def _card_dtype(name: str) -> torch.dtype:
    """That of a GPU: where there is none, the usual one."""
    import torch

    found: torch.dtype = getattr(torch, name)
    return torch.bfloat16 if found == torch.float32 else found


def _without(package: str) -> str:
    return " (the torch path serves every operation)" if package == "triton" else ""


def _why(use: dict[str, str]) -> str:
    if use["device"] == "cpu":
        return "no GPU found; float32 is exact"
    if use["dtype"] == "bfloat16":
        return "the GPU has bfloat16, norms, modulation and head stay float32"
    return "the GPU has no bfloat16; norms, modulation and head stay float32"

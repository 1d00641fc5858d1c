"""What narrower arithmetic does to the logits and the bits.

    python -m benchmarks.precision [--model DIR] [--prompts N] [--json FILE]

Every setting runs under the bits that the float32 engine chose (greedily), so that errors do not
add up from scale to scale: the figures are those of one pass. "Bits" is the share of greedy bits
that come out otherwise, "logits" the root mean square error over the logits' own spread.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.machine import describe
from toprovar.bundled import bundled_model
from toprovar.devices import choose_device
from toprovar.files import replace_file
from toprovar.models.fp8 import quantize_blocks
from toprovar.ops.bit_sampling import greedy_bits
from toprovar.pipeline import InfinityPipeline
from toprovar.sampling.bits import ForcedBits
from toprovar.sampling.params import EngineOptions, SamplingParams
from toprovar.sampling.run import SamplingRun
from toprovar.schedules import get_schedule

PROMPTS = ["a red apple", "two cats", "a dog to the left of a car", "a blue star above a cup"]
E4M3 = torch.float8_e4m3fn
SETTINGS = {
    "float32, bfloat16 cache": (torch.float32, EngineOptions(cache_dtype=torch.bfloat16)),
    "bfloat16 (default on GPUs)": (torch.bfloat16, EngineOptions()),
    "bfloat16, residual too (fast)": (
        torch.bfloat16, EngineOptions(residual_dtype=torch.bfloat16)),
    "float16": (torch.float16, EngineOptions()),
    "float32, 8-bit cache": (torch.float32, EngineOptions(cache_dtype=E4M3)),
    "bfloat16, 8-bit weights": (E4M3, EngineOptions()),
    "bfloat16, 8-bit weights and cache": (E4M3, EngineOptions(cache_dtype=E4M3)),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--prompts", type=int, default=len(PROMPTS))
    parser.add_argument("--pn", default="0.25M")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    device = choose_device(given.device)
    pipeline = InfinityPipeline.from_folder(given.model or bundled_model(), torch.float32)
    pipeline.to(device)
    text = pipeline.encode_prompt(PROMPTS[: given.prompts])
    model = pipeline.transformer
    params = SamplingParams(get_schedule("1.0", given.pn), pipeline.config["default_cfg"],
                            pipeline.config["default_tau"], mode="greedy")

    def logits(options: EngineOptions | None, forced: list[Tensor] | None) -> list[Tensor]:
        choose = ForcedBits(forced) if forced else None
        return [s.logits for s in SamplingRun(model, text, params, options=options,
                                              choose=choose)]

    exact = logits(None, None)
    bits = [greedy_bits(x) for x in exact]
    found = {}
    for name, (dtype, options) in SETTINGS.items():
        if dtype == E4M3:  # of the weights; for good, so these settings come last
            model.blocks.to(torch.bfloat16)
            quantize_blocks(model)
        else:
            model.blocks.to(dtype)
        other = logits(options, bits)
        error = torch.cat([(a - b).flatten() for a, b in zip(exact, other, strict=True)])
        spread = torch.cat([x.flatten() for x in exact]).std()
        changed = sum(int((greedy_bits(x) != b).sum()) for x, b in zip(other, bits, strict=True))
        found[name] = {
            "logits": (error.square().mean().sqrt() / spread).item(),
            "bits": changed / sum(b.numel() for b in bits),
        }
        print(f"{name:32} logits {found[name]['logits']:.2e}   bits {found[name]['bits']:.2e}")
        if dtype != E4M3:
            model.blocks.to(torch.float32)
    if given.json:
        result = {"command": " ".join(["python -m benchmarks.precision", *sys.argv[1:]]),
                  "machine": describe(device), "settings": found}
        replace_file(given.json, (json.dumps(result, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

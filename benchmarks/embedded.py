"""What the embedded model is, counted from its files: parameters and vocabulary.

    python -m benchmarks.embedded
"""

from __future__ import annotations

import json

import torch

from benchmarks.machine import describe
from toprovar.bundled import bundled_model
from toprovar.evaluation.compositional import Judge
from toprovar.pipeline import InfinityPipeline


def main() -> int:
    pipeline = InfinityPipeline.from_folder(bundled_model(), torch.float16)
    judge = Judge.load()
    parts = {"transformer": pipeline.transformer, "autoencoder": pipeline.vae,
             "text_encoder": pipeline.text_encoder, "judge": judge.detector}
    tokenizer = pipeline.tokenizer
    files = bundled_model().rglob("*.safetensors")
    print(json.dumps({
        "command": "python -m benchmarks.embedded", "machine": describe(torch.device("cpu")),
        "parameters": {name: sum(p.numel() for p in module.parameters())
                       for name, module in parts.items()},
        "bytes": sum(f.stat().st_size for f in files),
        "words": len(set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)),
        "entries": len(tokenizer), "classes": len(judge.classes), "colours": len(judge.colours),
    }))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

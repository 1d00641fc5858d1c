"""Run by ComfyUI's Python: what its command line does to a model.

    launched.py COMFYUI PACK

Reads a JSON list of [the loader's dtype, ARGUMENT ...] from stdin; prints facts on each as JSON.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from manager import NAME, OWN, load_pack


def main(comfyui: str, pack: Path, cases: list[list[str]]) -> None:
    sys.argv = ["main.py", "--cpu"]
    sys.path.insert(0, comfyui)
    importlib.import_module("comfy.options").enable_args_parsing()
    command_line: Any = importlib.import_module("comfy.cli_args")
    importlib.import_module("folder_paths")
    nodes = load_pack(pack)

    import torch

    found = []
    for dtype, *arguments in cases:
        try:
            given = command_line.parser.parse_args(["--cpu", *arguments])
        except SystemExit:
            found.append(None)  # this ComfyUI has no such argument
            continue
        vars(command_line.args).update(vars(given))
        with torch.inference_mode():
            found.append(facts(nodes, dtype))
    print(json.dumps(found))  # noqa: T201  # for the test


def facts(nodes: dict[str, Any], dtype: str) -> dict[str, Any]:
    loaded = nodes["LoadInfinity"].execute("infinity-emoji (embedded)", OWN, OWN, dtype, "auto")
    model, text, vae = loaded.args
    prompt = nodes["TextEncode"].execute(text, "a red apple", False).args[0]
    image, latent = nodes["Sampler"].execute(model, prompt, 7, 1, "1:1", "0.06M", 0.0, 0.0, 0.97,
                                             "off", False).args[:2]
    fp8: Any = importlib.import_module(f"{NAME}.toprovar.models.fp8")
    own = model.pipeline
    return {
        "transformer": str(own.transformer.compute_dtype), "vae": str(vae.vae_dtype),
        "text encoder": str(own.text_encoder.dtype),
        "narrow": bool(fp8.is_quantized(own.transformer)) if hasattr(fp8, "is_quantized") else None,
        "image": str(image.dtype), "latent": str(latent["samples"].dtype),
        "mean": round(float(image.float().mean()), 3), "size": list(image.shape),
        "graphs": model.options.graphs, "notes": loaded.ui["toprovar_notes"],
    }


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), json.load(sys.stdin))

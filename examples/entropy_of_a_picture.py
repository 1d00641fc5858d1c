"""See what the attention of the model looks at.

Measures the entropy of attention while a picture is drawn: low where a token looks at few others,
high where it looks at many. Writes the picture, the measurements as a file, and a figure of the
maps by scale and layer. Prints the mean entropy of each scale as a share of its largest possible
value.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from toprovar import EntropyTrace, analyze, entropy_maps, load_pipeline

PROMPT = "a white butterfly to the left of a pink pumpkin"


def main(out: Path, model: str | None, size: int | None) -> None:
    pipe = load_pipeline(model)
    found = analyze(pipe, [PROMPT], seeds=[2], schedule=pipe.resolve_schedule(size, size))

    out.mkdir(parents=True, exist_ok=True)
    found.images[0].save(out / "picture.png")
    found.trace.save(out / "trace.safetensors")

    trace = EntropyTrace.load(out / "trace.safetensors")  # the same, perhaps another day
    entropy_maps(trace, picture=found.images[0]).save(out / "maps.png")
    for scale in trace.scales[1:]:  # the first scale has one token, which sees no other
        maps = torch.stack([trace.relative(scale, layer) for layer in trace.layers_at(scale)])
        rows, columns = trace.about.grids[scale]
        print(f"scale {scale:2} ({rows} x {columns} tokens): {float(maps.mean()):.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("out/entropy_of_a_picture"),
                        help="folder to write to (default: %(default)s)")
    parser.add_argument("--model", metavar="DIR", help="folder of a converted model (default: the "
                        "one that comes with ToProVAR)")
    parser.add_argument("--size", metavar="PIXELS", type=int,
                        help="side of the pictures (default: the model's own)")
    main(**vars(parser.parse_args()))

"""How far weights of words move what is drawn, by several ways of weighing.

    python -m benchmarks.word_weights [--model DIR] [--pictures N] [--json FILE]

The bits of the first scales are drawn with the whole prompt and held. "Reached" is where the
logits are on the straight line from those of the prompt without the word (0) to those of the
whole prompt (1): weights of 0 and 0.5 should come to about 0 and 0.5, weights above 1 go beyond 1
where the word can be drawn more strongly. No guidance, no temperature.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.machine import describe
from toprovar.bundled import bundled_model
from toprovar.devices import choose_device
from toprovar.files import replace_file
from toprovar.models.text import PackedText
from toprovar.models.text_encoder import encode_prompts
from toprovar.ops.bit_sampling import sample_bits
from toprovar.pipeline import InfinityPipeline
from toprovar.sampling.bits import BitChooser, ForcedBits
from toprovar.sampling.params import SamplingParams
from toprovar.sampling.run import SamplingRun
from toprovar.schedules import get_schedule

PROMPTS = [
    "a *red* apple", "a dog and a *yellow* star", "a purple cat on a *green* background",
    "a *small* blue boat", "a red *apple*", "a *dog* and a yellow star", "a photo of a *cat*",
    "a house and a *tree*", "*two* blue cars", "*three* birds on a plain background",
    "a shiny balloon to the *left* of a truck", "a cup *below* a book",
]
"""The word that is weighed between stars: four colours and sizes, four things, two numbers, two
relations."""
WEIGHTS = (0.0, 0.5, 0.8, 1.2, 1.5, 2.0)
SCALES = 6


def ways(pipeline: InfinityPipeline, head: str, word: str, tail: str
         ) -> dict[str, Callable[[float], Tensor]]:
    """[n, C] features of the prompt with a weight, by ways of weighing."""
    tokenizer, encoder = pipeline.tokenizer, pipeline.text_encoder

    def read(prompt: str) -> Tensor:
        return encode_prompts([prompt], tokenizer, encoder, weights=True).features

    def weighed(weight: float) -> Tensor:
        return read(f"{head}({word}:{weight}){tail}")

    plain, without, empty = read(head + word + tail), weighed(0.0), read("")[-1]
    own = len(tokenizer(head, add_special_tokens=False).input_ids)

    def only_own(start: Tensor) -> Callable[[float], Tensor]:
        def moved(weight: float) -> Tensor:
            found = plain.clone()
            found[own] = start + weight * (plain[own] - start)
            return found
        return moved

    return {"all tokens, from the hidden word": weighed,
            "the word's token, from the hidden word": only_own(without[own]),
            "the word's token, from the empty prompt": only_own(empty),
            "the word's token, scaled": only_own(torch.zeros_like(empty))}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--pn", default="0.06M")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    device = choose_device(given.device)
    pipeline = InfinityPipeline.from_folder(given.model or bundled_model(), torch.float32)
    pipeline.to(device)
    params = SamplingParams(get_schedule("1.0", given.pn), 1.0, 1.0)

    def odds(features: Tensor, choose: BitChooser) -> Tensor:
        """Of all bits of the first scales."""
        text = PackedText(features, (len(features),)).repeat_each(given.pictures)
        found = []
        for state in SamplingRun(pipeline.transformer, text, params, choose=choose):
            no, yes = state.logits.unflatten(-1, (-1, 2)).unbind(-1)
            found.append((yes - no).flatten())
            if state.index + 1 == SCALES:
                break
        return torch.cat(found)

    found: dict[str, dict[float, list[float]]] = {}
    for prompt in PROMPTS:
        head, word, tail = prompt.split("*")
        drawn: list[Tensor] = []
        generators = [torch.Generator().manual_seed(i) for i in range(given.pictures)]

        def draw(scale: int, logits: Tensor, drawn: list[Tensor] = drawn,
                 generators: list[torch.Generator] = generators) -> Tensor:
            drawn.append(sample_bits(logits, params.top_k, params.top_p, generators))
            return drawn[-1]

        whole = odds(pipeline.encode_prompt(head + word + tail).features, draw)
        held = ForcedBits(drawn)
        start = odds(pipeline.encode_prompt(head + tail.lstrip()).features, held)
        way = whole - start
        for name, weigh in ways(pipeline, head, word, tail).items():
            for weight in WEIGHTS:
                reached = (odds(weigh(weight), held) - start) @ way / way.square().sum()
                found.setdefault(name, {}).setdefault(weight, []).append(float(reached))
    print(" " * 40 + "".join(f"{weight:>14}" for weight in WEIGHTS))
    for name, rows in found.items():
        print(f"{name:40}" + "".join(
            f"{statistics.mean(r):8.2f} ±{statistics.stdev(r):5.2f}" for r in rows.values()))
    if given.json:
        result = {"command": " ".join(["python -m benchmarks.word_weights", *sys.argv[1:]]),
                  "machine": describe(device), "prompts": PROMPTS, "reached": found}
        replace_file(given.json, (json.dumps(result, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Arguments that nobody should give, to the command line and to a pipeline's call."""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from toprovar import EngineOptions
from toprovar.cli import command as named_command
from toprovar.cli import main
from toprovar.models.text import PackedText

from .originals import SCHEDULE

TEXTS = ("", " ", "0", "-1", "1", "3", "0.5", "nan", "inf", "-inf", "1e400", "1000000000",
         "99999999999999999999", "9" * 5000, "x", "1,2", "1.5", "\udcff", "../x", "\uff11", "-",
         "\x1b[31m", "x" * 5000, "true", "None", "0x10")
FILES = ("", ".", "x", "nothing/x.png", "o.txt", "plan.json", "plan.json/x.png", "plan.png",
         "x" * 300 + ".png", "\udcff.png", "new.png", "new.json", "model")
SIZES = ("256x256", "0x0", "256x0", "1000000000x1000000000", "1000000000x256", "1x1", "256",
         "-256x256", "axb", "256X256", "\uff12x2", "9" * 5000 + "x9", "256x256x256", "")
VALUES: dict[str, tuple[str, ...]] = {
    "size": SIZES,
    "aspect": ("1:1", "3:2", "0:1", "1:0", "nan:1", "1:1e400", "1e308:1e-308", "-1:-1", "1", ":",
               "9:1", "x:y"),
    "pn": ("0.06M", "0", "2M", "x", "", "0.06m"), "pixels": ("0.06M", "0", "2M", "x", "", "0.06m"),
    "plan": ("auto", "dense", "toprovar", "fastvar", "skipvar", *FILES),
    "strategies": ("fastvar", "x", ",", "fastvar,plan.json", "dense,dense"),
    "device": ("cpu", "cuda", "cuda:99", "x", "meta", "", "cpu:7"),
    "dtype": ("float32", "bfloat16", "x", "int8", ""), "attention": ("torch", "x", ""),
    "num": ("0", "-1", "2", "1.5", "1000000000", "x"),
    "num_seeds": ("0", "-1", "1.5", "1000000000000", "x"), "batch": ("0", "-1", "2", "x"),
    "family": ("infinity", "varedit", "x", ""),
    "side": ("0", "-1", "64", "1000000000", "x"), "bundled": ("0", "-1", "1", "1000000000", "x"),
    "max_shard_bytes": ("0", "-1", "1", "100000", "9" * 30),
    "region": ("0", "1", "-1", "8", "1000000000"), "tile": ("0", "1", "-1", "1000000000"),
}
PATHS = {"out", "report", "save_plan", "json", "pictures", "model", "vae", "text_encoder",
         "transformer", "calibration", "toprovar_calibration", "decisions", "skipvar_decisions",
         "prompts", "file", "picture", "first", "second", "folder", "destination", "sources"}
SLOW = {"calibrate", "shortcut_pictures", "help"}
"""Not given: what they ask for takes minutes where it is sound."""

BASES: dict[str, list[str]] = {
    "generate": ["a red cat", "--model", "{model}", "--tau", "1", "--out", "o.png"],
    "instruct": ["plan.png", "a red cat", "--model", "{model}", "--family", "varedit", "--out",
                 "o.png"],
    "plan make": ["fastvar", "o.json", "--model", "{model}"],
    "plan show": ["plan.json"],
    "plan validate": ["plan.json", "--model", "{model}"],
    "plan diff": ["plan.json", "plan.png"],
    "compare": ["a red cat", "--model", "{model}", "--tau", "1", "--strategies", "fastvar",
                "--no-warm-up", "--side", "64", "--out", "o.png"],
    "analyze": ["a red cat", "--model", "{model}", "--tau", "1", "--scales", "1", "--layers", "1"],
    "fit-skipvar": ["a red cat", "--model", "{model}", "--out", "o.json"],
    "convert": ["{official}", "o.safetensors"],
    "conformance": ["."],
    "doctor": [],
}
WEIGHTS = (10, 4, 4, 2, 3, 1, 1, 2, 1, 3, 1, 0.3)


def command(folder: Path, rng: Random) -> list[str]:
    """A command with one to three odd options, or odd words in place of its own."""
    name = rng.choices(list(BASES), WEIGHTS)[0]
    own = [word.format(model=folder / "model", official=folder / "official.pth")
           for word in BASES[name]]
    actions = list(_actions(name.split()))
    for _ in range(rng.choice((1, 1, 2, 3))):
        options = [a for a in actions if a.option_strings and a.dest not in SLOW]
        plain = [i for i, word in enumerate(own) if not word.startswith("-")
                 and not (i and own[i - 1].startswith("-"))]
        if plain and (not options or rng.random() < 0.15):
            own[rng.choice(plain)] = rng.choice((*TEXTS, *FILES))
        elif options:
            own += _option(rng.choice(options), rng)
    return [*name.split(), *own]


def _actions(words: list[str]) -> Iterator[argparse.Action]:
    """The options of a command, as its own parser has them: new ones are tried without a word
    here."""
    parser = argparse.ArgumentParser()
    named_command(words[0]).add_arguments(parser)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices[words[1]]._actions
        else:
            yield action


def _option(action: argparse.Action, rng: Random) -> list[str]:
    flag = rng.choice(action.option_strings)
    if action.nargs == 0:
        return [flag]
    if action.dest in VALUES:
        pool = VALUES[action.dest]
    elif action.choices and rng.random() < 0.7:
        pool = tuple(map(str, action.choices))
    else:
        pool = FILES if action.dest in PATHS else TEXTS
    value = rng.choice(pool)
    return [f"{flag}={value}"] if value.startswith("-") else [flag, value]


def run_command(argv: list[str]) -> tuple[int, str]:
    """Exit status and what came on the error stream, which takes no lone surrogate unescaped."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = main(argv)
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
        out.flush()
    err.flush()
    return status, err.buffer.getvalue().decode()  # type: ignore[attr-defined]  # a BytesIO


class Odd:
    """No argument at all."""

    def __repr__(self) -> str:
        return "Odd()"


def call_values() -> dict[str, tuple[Any, ...]]:
    """Odd values, and some sound ones, for every argument of a pipeline's call."""
    nan, inf = float("nan"), float("inf")
    numbers = (0, -1, 1, 2.5, nan, inf, -inf, 10**400, "1", "x", None, True, [], [nan], [1.0] * 3,
               [1.0] * 7, np.float32(2), np.int64(1), torch.tensor(2.0), torch.ones(3), Odd())
    sizes = (0, -1, 1, 256, 256.0, 256.5, nan, inf, 10**9, 10**400, "256", None, True,
             np.int64(256), np.float64(nan), [256], Odd())
    prompts = ("", " ", "a red cat", "\ud800", "cat\x00", "\x1b[31m", "cat " * 3000, 5, None,
               b"cat", [], [""], ["a", 5], [["a"]], ["a red cat", "a dog"], {"a": 1},
               np.array(["a"]), Odd())
    features = (None, PackedText(torch.ones(3, 24), (3,)), PackedText(torch.ones(3, 8), (3,)),
                PackedText(torch.full((3, 24), nan), (3,)), PackedText(torch.ones(40, 24), (40,)),
                PackedText(torch.ones(3, 24, dtype=torch.int64), (3,)), torch.ones(3, 24), "x",
                Odd())
    whole = (0, -1, 1, 2, 1.5, nan, "2", None, True, 10**9, 10**400, np.int64(1), [1], Odd())
    return {
        "prompt": prompts, "negative_prompt": prompts, "height": sizes, "width": sizes,
        "guidance_scale": numbers, "tau": numbers, "top_p": numbers, "top_k": whole,
        "generator": (torch.Generator(), [torch.Generator()], [torch.Generator()] * 3, [], "x", 5,
                      [None], Odd()),
        "num_images_per_prompt": (*whole, 10**12),
        "output_type": ("pil", "np", "pt", "latent", "x", None, 5, ["pil"], Odd()),
        "callback_on_step_end": (lambda *_: None, lambda *_: {}, lambda *_: {"latents": None}),
        "plan": ("auto", "x", {}, Odd()),
        "seed": (0, -1, 2**63, 2**64 - 1, 2**64, -(2**70), 1.5, nan, "1", [1], [1, 2], [nan], ["x"],
                 [], True, np.int64(3), np.uint64(2**64 - 1), torch.tensor(1), Odd()),
        "schedule": (None, "1.0", [(1, 1)], Odd()),
        "cfg_insertion_layer": ((0,), (-1,), (-3,), (5,), (), (nan,), "x", 0, (0.5,), (None,),
                                Odd()),
        "greedy": (True, False, None), "prompt_weights": (True, True, False, None),
        "prompt_features": features, "negative_features": features,
        "options": (EngineOptions(), {}, Odd()),
        "vae_tile": (*whole, 8),
    }


def call(rng: Random) -> dict[str, Any]:
    """Keywords of a call of which one to three are odd."""
    given: dict[str, Any] = {"prompt": "a red cat", "schedule": SCHEDULE, "seed": 1,
                             "output_type": "latent"}
    values = call_values()
    for name in rng.sample(list(values), rng.choice((1, 1, 2, 3))):
        if name not in values:  # the size was given another way
            continue
        given[name] = rng.choice(values[name])
        if name in ("height", "width"):
            del given["schedule"]
            given.setdefault("height", 256)
            values.pop("schedule", None)
            given["schedule"] = None
        if name == "generator":
            given["seed"] = None
        if name == "prompt_features":
            given["prompt"] = None
    return given

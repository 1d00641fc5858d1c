"""What commands that measure on many pictures share: prompts, sizes, and how the runs are made."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..arguments import MOST_IMAGES, check_prompts, seed_list, whole
from ..printable import printable
from ..reading import read_text, reading
from .early import check_sampling
from .model_options import engine_options

if TYPE_CHECKING:
    from ..schedules import ScaleSchedule

MOST_PICTURES = 100_000
MOST_BYTES = 16 << 20
"""Of a file of prompts."""
MOST_NOTES = 10
"""On prompts, in words."""


def add_measuring(parser: argparse.ArgumentParser, bundled: int, pixels: str) -> None:
    """Options of these commands.

    Args:
        bundled: how many prompts ``--bundled`` alone stands for.
        pixels: when several pixel budgets may be given.
    """
    add_prompts(parser, bundled)
    add_sizes(parser, pixels)
    parser.add_argument("--batch", type=int, default=1, help="pictures at once (default: 1)")


def add_prompts(parser: argparse.ArgumentParser, bundled: int) -> None:
    """Where prompts come from; ``bundled`` as in :func:`add_measuring`."""
    add = parser.add_argument
    add("--prompts", metavar="FILE", help="a text file of prompts, one a line (default: none)")
    add("--bundled", type=int, nargs="?", const=bundled, metavar="N",
        help="N prompts of the embedded model's set, evenly spread (default: none; without N: "
             f"{bundled})")


def add_sizes(parser: argparse.ArgumentParser, pixels: str) -> None:
    """Sizes, seeds and sampling; ``pixels`` as in :func:`add_measuring`."""
    add = parser.add_argument
    add("--pixels", "--pn", dest="pn", action="append", metavar="PN",
        help=f"pixel budget: 0.06M, 0.25M, 0.60M or 1M; {pixels} (default: the model's)")
    add("--aspect", metavar="W:H", default="1:1",
        help="width to height, such as 3:2 (default: 1:1)")
    add("--seed", type=int, default=0, help="first seed (default: 0)")
    add("--num-seeds", type=int, default=1, help="pictures of each prompt (default: 1)")
    add("--cfg", type=float, help="guidance strength; 1 = off (default: the model's)")
    add("--tau", type=float, help="temperature (default: the model's)")


def given_prompts(arguments: argparse.Namespace, none: bool = False) -> list[str]:
    """All prompts that were given; a ValueError if there are none, unless there may be ``none``."""
    prompts = list(arguments.prompt)
    if arguments.prompts:
        with reading(arguments.prompts, "file of prompts", "give a text file, a prompt a line"):
            lines = read_text(arguments.prompts, MOST_BYTES).splitlines()
        own = [line.strip() for line in lines if line.strip()]
        if not own:
            raise ValueError(f"{arguments.prompts} contains no prompt: give a text file with "
                             "one prompt a line")
        prompts += own
    if arguments.bundled is not None:
        from ..evaluation.compositional.prompts import bundled_prompts

        every = bundled_prompts()
        if not 1 <= arguments.bundled <= len(every):
            raise ValueError(f"--bundled must be between 1 and {len(every)}, "
                             f"got {arguments.bundled}")
        # Tasks lie one behind the other in the set, so even steps touch all of them.
        prompts += [every[i * len(every) // arguments.bundled].text
                    for i in range(arguments.bundled)]
    if not prompts and not none:
        raise ValueError("give at least one prompt, or --prompts FILE, or --bundled")
    return check_prompts("prompt", prompts) if prompts else []


def tell_notes(pipeline: Any, prompts: Sequence[str]) -> None:
    """Say, beside the results, what the text encoder cannot make of prompts."""
    from ..models.prompt_notes import notes_on
    from ..models.text_encoder import MAX_TEXT_TOKENS

    if not prompts or pipeline.tokenizer is None:
        return
    most = min(MAX_TEXT_TOKENS, pipeline.transformer.shape.text_max_length)
    notes = notes_on(prompts, pipeline.tokenizer, most)
    for note in notes[:MOST_NOTES]:
        print(printable(f"note: the prompt {note}"), file=sys.stderr)
    if len(notes) > MOST_NOTES:
        print(f"note: {len(notes) - MOST_NOTES} further notes on prompts", file=sys.stderr)


def check_measuring(arguments: argparse.Namespace) -> None:
    """Refuse what can be refused before the model is loaded."""
    whole("--num-seeds", arguments.num_seeds, 1, MOST_PICTURES)
    whole("--batch", arguments.batch, 1, MOST_IMAGES)
    check_sampling(arguments)
    seed_list(arguments.seed + arguments.num_seeds - 1, 1)
    schedules_of(arguments, "1M")


def schedules_of(arguments: argparse.Namespace, default_pn: str) -> list[ScaleSchedule]:
    """The sizes that were asked for, one for each pixel budget."""
    from ..schedules import get_schedule, parse_aspect

    aspect = parse_aspect(arguments.aspect)
    return [get_schedule(aspect, pn) for pn in dict.fromkeys(arguments.pn or [default_pn])]


def sampling_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the pipeline is called with beside prompts and seeds."""
    return {"guidance_scale": arguments.cfg, "tau": arguments.tau,
            "options": engine_options(arguments)}


def command_line(program: str, arguments: argparse.Namespace, schedules: list[ScaleSchedule],
                 options: Sequence[str]) -> str:
    """What was asked, without the paths of this machine."""
    words = [f"toprovar {program}"]
    if arguments.bundled:
        words.append(f"--bundled {arguments.bundled}")
    words += [f"--pixels {s.pn}" for s in schedules]
    words += [f"--{name.replace('_', '-')} {getattr(arguments, name)}"
              for name in ("aspect", "seed", "num_seeds", *options)]
    return " ".join(words)

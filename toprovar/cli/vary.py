"""``toprovar vary``: a picture whose finer scales are drawn anew."""

from __future__ import annotations

import argparse
from typing import Any

from ..arguments import check_prompts, share
from .early import check_source
from .edited import (
    Session,
    add_common,
    check_common,
    pictures_to,
    read_picture,
    settle,
    size_of,
)
from .edited_again import take_edit, told_file

STRENGTH = 0.6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("image", help="the picture")
    add("prompt", nargs="?", help="what to draw")
    add("--strength", type=float, help="0 = the picture as the model reads it, to 1 = a new one "
        f"(default: {STRENGTH})")
    add("--from", dest="from_", metavar="PICTURE", help="instead: as a picture of this command was "
        "made, with its prompt, seed and settings; options given beside it win")
    add_common(parser)


def run(arguments: argparse.Namespace) -> int:
    check_source("the picture", arguments.image)
    arguments.grids = None
    if arguments.from_ is not None:
        take_edit(arguments, "vary", ("strength",))
    settle(arguments)
    strength = share("--strength", STRENGTH if arguments.strength is None else arguments.strength)
    if arguments.prompt is None:
        raise ValueError("give a prompt after the picture, or --from PICTURE")
    check_prompts("the prompt", [arguments.prompt])
    check_common(arguments, pictures_to(arguments, arguments.num))
    image = read_picture("the picture", arguments.image)
    session = Session.start(arguments, size_of(arguments, image.height, image.width))
    told: dict[str, Any] = {"command": "vary", "image": told_file(arguments.image),
                            "strength": strength}

    def draw(seeds: list[int], on_image: Any) -> Any:
        return session.pipeline.vary(
            image, arguments.prompt, strength, seed=seeds, num_images_per_prompt=len(seeds),
            on_image=on_image, **session.call)

    return session.draw(draw, arguments.prompt, told)

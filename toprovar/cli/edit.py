"""``toprovar edit``: a picture changed by words."""

from __future__ import annotations

import argparse
from typing import Any

from ..arguments import check_prompts, number, share, whole
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

AWAY = 0.5
SIGNS = ("likelihood", "logits", "entropy", "cross-attention")
TOLD = ("source_prompt", "away", "mask_from", "mask_share", "strength", "blend", "cfg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("image", help="the picture")
    add("source_prompt", nargs="?", help="what it shows")
    add("prompt", nargs="?", help="what it is to show")
    add("--mask", metavar="FILE", help="picture that is white where it may change (default: where "
        "the two descriptions disagree)")
    add("--mask-from", metavar="SIGN", help=f"how that is found: {', '.join(SIGNS)} (default: "
        f"{SIGNS[0]})")
    add("--mask-share", type=float, metavar="S", help="share of the picture that may change, 0 to "
        "1 (default: by the sign itself)")
    add("--away", type=float, help="how far to lead away from the first description (default: "
        f"{AWAY})")
    add("--strength", type=float, help="how much of the changing part is drawn, 0 to 1 (default: "
        "1)")
    add("--blend", type=int, metavar="N", help="pixels over which drawn pixels go over into the "
        "picture; -1 = show all as it is decoded (default: 16)")
    add("--from", dest="from_", metavar="PICTURE", help="instead: as a picture of this command was "
        "made, with its prompts, seed and settings; options given beside it win")
    add_common(parser)


def run(arguments: argparse.Namespace) -> int:
    check_source("the picture", arguments.image)
    check_source("--mask", arguments.mask)
    arguments.grids = None
    if arguments.from_ is not None:
        take_edit(arguments, "edit", TOLD)
    settle(arguments)
    _check(arguments)
    check_common(arguments, pictures_to(arguments, arguments.num), ("source_prompt", "mask_from"))
    image = read_picture("the picture", arguments.image)
    mask = None if arguments.mask is None else read_picture("--mask", arguments.mask)
    told: dict[str, Any] = {"command": "edit", "image": told_file(arguments.image)}
    told |= {name: getattr(arguments, name) for name in TOLD
             if getattr(arguments, name) is not None}
    if arguments.mask is not None:
        told["mask"] = told_file(arguments.mask)
    session = Session.start(arguments, size_of(arguments, image.height, image.width))
    blend = 16 if arguments.blend is None else arguments.blend
    found: Any = mask

    def draw(seeds: list[int], on_image: Any) -> Any:
        nonlocal found
        pipeline = session.pipeline
        if found is None:
            found = pipeline.edit_mask(
                image, arguments.source_prompt, arguments.prompt,
                arguments.mask_from or SIGNS[0], arguments.mask_share, schedule=session.schedule,
                options=session.call["options"], prompt_weights=arguments.word_weights)
        return pipeline.edit(
            image, arguments.source_prompt, arguments.prompt, mask_image=found,
            away=AWAY if arguments.away is None else arguments.away,
            strength=arguments.strength, blend=None if blend < 0 else blend, seed=seeds,
            num_images_per_prompt=len(seeds), on_image=on_image, **session.call)

    return session.draw(draw, arguments.prompt, told)


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what cannot be meant."""
    if arguments.source_prompt is None or arguments.prompt is None:
        raise ValueError("give what the picture shows and what it is to show, or --from PICTURE")
    check_prompts("the description", [arguments.source_prompt])
    check_prompts("the prompt", [arguments.prompt])
    if arguments.mask_from is not None and arguments.mask_from not in SIGNS:
        raise ValueError(f"--mask-from must be one of {', '.join(SIGNS)}, got "
                         f"{arguments.mask_from!r}")
    if arguments.mask and (arguments.mask_from or arguments.mask_share is not None):
        raise ValueError("--mask-from and --mask-share find a mask: leave them out with --mask")
    if arguments.mask_share is not None and not 0 < share("--mask-share",
                                                          arguments.mask_share) < 1:
        raise ValueError("--mask-share must be above 0 and below 1")
    if arguments.away is not None and number("--away", arguments.away) < 0:
        raise ValueError(f"--away must be 0 or more, got {arguments.away:g}")
    if arguments.strength is not None:
        share("--strength", arguments.strength)
    if arguments.blend is not None:
        whole("--blend", arguments.blend, -1, 4096)

"""``toprovar inpaint``: a part of a picture drawn anew, or what lies beyond its edges."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..arguments import check_prompts, share, whole
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

if TYPE_CHECKING:
    from ..pipeline import InfinityPipeline
    from ..schedules import ScaleSchedule
    from ..sparsity.plan import SparsityPlan

SIDES = ("left", "right", "top", "bottom")
BLEND = 16
TOLD = ("strength", "blend", "padding_mask_crop", *SIDES)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("image", help="the picture")
    add("prompt", nargs="?", help="what the whole picture is to show")
    add("--mask", metavar="FILE", help="picture that is white where it is drawn anew, black where "
        "it stays (default: none, with --left, --right, --top or --bottom)")
    for side in SIDES:
        add(f"--{side}", type=int, metavar="N", help="pixels of the picture to add at the "
            f"{side} (default: 0)")
    add("--strength", type=float, help="how much of the masked part is drawn, 0 to 1 (default: 1)")
    add("--padding-mask-crop", type=int, metavar="N", help="draw only the mask's surroundings, N "
        "pixels around it, at full size (default: the whole picture)")
    add("--blend", type=int, metavar="N", help="pixels over which drawn pixels go over into the "
        f"picture; -1 = show all as it is decoded (default: {BLEND})")
    add("--from", dest="from_", metavar="PICTURE", help="instead: as a picture of this command was "
        "made, with its prompt, seed and settings; options given beside it win")
    add_common(parser)


def run(arguments: argparse.Namespace) -> int:
    check_source("the picture", arguments.image)
    check_source("--mask", arguments.mask)
    arguments.grids = None
    if arguments.from_ is not None:
        take_edit(arguments, "inpaint", TOLD)
    settle(arguments)
    _check(arguments)
    check_common(arguments, pictures_to(arguments, arguments.num))
    image = read_picture("the picture", arguments.image)
    mask = None if arguments.mask is None else read_picture("--mask", arguments.mask)
    left, right, top, bottom = (getattr(arguments, side) or 0 for side in SIDES)
    added = left, right, top, bottom
    told: dict[str, Any] = {"command": "inpaint", "image": told_file(arguments.image)}
    told |= {name: getattr(arguments, name) for name in TOLD
             if getattr(arguments, name) is not None}
    blend = BLEND if arguments.blend is None else arguments.blend
    if arguments.mask is not None:
        told["mask"] = told_file(arguments.mask)
        session = Session.start(arguments, size_of(arguments, image.height, image.width))

        def draw(seeds: list[int], on_image: Any) -> Any:
            return session.pipeline.inpaint(
                image, mask, arguments.prompt, blend=None if blend < 0 else blend,
                strength=arguments.strength, padding_mask_crop=arguments.padding_mask_crop,
                seed=seeds, num_images_per_prompt=len(seeds), on_image=on_image, **session.call)

        return session.draw(draw, arguments.prompt, told)

    def canvas(pipeline: InfinityPipeline, saved: SparsityPlan | None
               ) -> tuple[ScaleSchedule, tuple[str, ...]]:
        from ..editing.outpaint import place

        canvas_size = image.height + top + bottom, image.width + left + right
        schedule, _ = size_of(arguments, *canvas_size)(pipeline, saved)
        place(image, added, None, None, schedule, pipeline.config["default_pn"])  # or an error
        return schedule, ()  # the pipeline notes it

    session = Session.start(arguments, canvas)

    def draw_around(seeds: list[int], on_image: Any) -> Any:
        return session.pipeline.outpaint(
            image, arguments.prompt, **dict(zip(SIDES, added, strict=True)),
            blend=None if blend < 0 else blend, seed=seeds, num_images_per_prompt=len(seeds),
            on_image=on_image, **session.call)

    return session.draw(draw_around, arguments.prompt, told)


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what cannot be meant."""
    if arguments.prompt is None:
        raise ValueError("give a prompt after the picture, or --from PICTURE")
    check_prompts("the prompt", [arguments.prompt])
    sides = {f"--{side}": getattr(arguments, side) for side in SIDES}
    for flag, value in sides.items():
        if value is not None:
            whole(flag, value, 0, 1 << 14)
    if bool(arguments.mask) == any(sides.values()):
        raise ValueError("give --mask FILE, or how much to add by --left, --right, --top and "
                         "--bottom" + (", not both" if arguments.mask else ""))
    if not arguments.mask:
        for name in ("strength", "padding_mask_crop"):
            if getattr(arguments, name) is not None:
                raise ValueError(f"--{name.replace('_', '-')} needs a mask: give --mask as well")
    if arguments.strength is not None:
        share("--strength", arguments.strength)
    if arguments.padding_mask_crop is not None:
        whole("--padding-mask-crop", arguments.padding_mask_crop, 0, 4096)
    if arguments.blend is not None:
        whole("--blend", arguments.blend, -1, 4096)

"""``generate --from PICTURE``: the same picture again, by what it says of itself."""

from __future__ import annotations

import argparse
from typing import Any

from ..picture_files import LEFT_OUT, read_parameters
from ..picture_parameters import PYTHON
from ..reading import reading

TAKEN = ("prompt", "negative", "word_weights", "seed", "cfg", "tau", "top_p", "greedy", "vae_tile",
         "dtype", "plan")
SIZE = ("size", "aspect", "pixels")


def take_parameters(arguments: argparse.Namespace) -> None:
    """Fill in what a picture was made with, wherever no option says otherwise.

    Sets ``arguments.schedule`` to the scales of the picture, unless a size is given.

    Raises:
        ValueError: the file is no such picture, or lacks what is needed.
    """
    path = arguments.from_
    about = read_parameters(path)
    edit = about.get("edit")
    if isinstance(edit, dict):
        again = "in Python" if edit.get("command") == PYTHON else \
            f"with 'toprovar {edit.get('command')}'"
        raise ValueError(f"{path}: an edit of a picture: draw it again {again}, from the picture "
                         "that it was made from")
    found = taken_values(arguments, about)
    grids = found["grids"]
    for name in TAKEN:
        if getattr(arguments, name) is None and found.get(name) is not None:
            setattr(arguments, name, found[name])
    if not any(getattr(arguments, name) for name in SIZE):
        from ..schedules import find_schedule

        arguments.schedule = find_schedule([(int(h), int(w)) for h, w in grids])


def taken_values(arguments: argparse.Namespace, about: dict[str, Any]) -> dict[str, Any]:
    """What a picture tells, by option, and its "grids".

    Args:
        about: its parameters.

    Raises:
        ValueError: it lacks what is needed.
    """
    path = arguments.from_
    with reading(path, "picture to be drawn again", "give a picture of 'toprovar generate'"):
        _check_left_out(arguments, about)
        found = _values(path, about)
        grids = about["params"]["schedule"]["grids"]
        if not isinstance(grids, list) or not all(
                isinstance(g, list) and len(g) == 2 and all(type(n) is int for n in g)
                for g in grids):
            raise ValueError("its scales cannot be read")
        return {**found, "grids": grids}


def _values(path: str, about: dict[str, Any]) -> dict[str, Any]:
    if about.get("source_picture") is not None:
        raise ValueError("it is an edit of another picture: 'toprovar instruct' with that picture "
                         "makes it again")
    params = about.get("params")
    if not isinstance(params, dict) or not isinstance(about.get("prompt", ""), str) \
            or type(about.get("seed")) is not int or not isinstance(params.get("schedule"), dict):
        raise ValueError("it lacks a prompt, a seed or the sampling parameters")
    mode = params.get("mode")
    if mode not in ("sample", "greedy"):
        raise ValueError(f"its bits were drawn by {mode!r}, which no option asks for")
    for name, usual in (("top_k", 900), ("cfg_insertion_layer", [0])):
        if params.get(name, usual) != usual:
            raise ValueError(f"it was drawn in Python with {name} = {params[name]!r}, which no "
                             "option asks for")
    found = {
        "prompt": about.get("prompt"), "negative": about.get("negative_prompt"),
        # Pictures that do not say so are older than weights: all was text.
        "word_weights": about.get("prompt_weights") is True,
        "seed": about["seed"],
        "cfg": _list("cfg", params.get("cfg")), "tau": _list("tau", params.get("tau")),
        "top_p": params.get("top_p"), "greedy": mode == "greedy" or None,
        "vae_tile": about.get("vae_tile"), "dtype": about.get("dtype"),
    }
    if about.get("sparsity_plan") is not None:
        found["plan"] = path  # the plan as it was at the end of the run
    return found


def _check_left_out(arguments: argparse.Namespace, about: dict[str, Any]) -> None:
    """ValueError where the picture lacks what did not fit into it and no option brings it."""
    left = about.get(LEFT_OUT)
    left = set(map(str, left)) if isinstance(left, list) else set()
    if about.get("plan_request") and about.get("sparsity_plan") is None:
        left.add("sparsity_plan")  # also of files that do not say so
    for name, option, how in (("prompt", "prompt", "give it beside --from"),
                              ("negative_prompt", "negative", "give it by --negative"),
                              ("sparsity_plan", "plan", "ask for it by --plan")):
        brought = getattr(arguments, option, None) or (
            option == "prompt" and getattr(arguments, "prompts", None))
        if name in left and not brought:
            raise ValueError(f"its {name.replace('_', ' ').replace('sparsity ', '')} did not fit "
                             f"into the file: {how}")
    if "prompt" not in about and "prompt" not in left:
        raise ValueError("it lacks a prompt, a seed or the sampling parameters")


def _list(name: str, values: Any) -> Any:
    """One number where all scales have the same."""
    if not isinstance(values, list) or not values or not all(
            isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
        raise ValueError(f"its {name} is not a number for each scale")
    return float(values[0]) if len(set(values)) == 1 else tuple(map(float, values))

"""An edit drawn again, ``--from PICTURE``: the files that it was made from, and its settings."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..picture_files import read_parameters
from ..picture_parameters import PYTHON
from .model_options import names_size
from .rerun import taken_values


def told_file(path: str) -> dict[str, str]:
    """A file by its name, without its folder, and a SHA-256 of its content."""
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return {"name": Path(path).name, "sha256": digest}


def check_same(flag: str, path: str, known: Any) -> None:
    """ValueError where a picture was made from another file than this."""
    if isinstance(known, dict) and known.get("sha256") != told_file(path)["sha256"]:
        raise ValueError(f"{flag}: {path!r} is not the file that the picture was made from "
                         f"({known.get('name')!r}): give that one, or leave out --from")


def take_edit(arguments: argparse.Namespace, command: str, names_: Sequence[str]) -> None:
    """``--from PICTURE``: fill in what an edited picture was made with, wherever no option says
    otherwise.

    Args:
        names_: of the command's own arguments that a picture tells under "edit".

    Raises:
        ValueError: the picture is none of this command, or of other files than those given.
    """
    path = arguments.from_
    about = read_parameters(path)
    edit = about.get("edit")
    if not isinstance(edit, dict) or edit.get("command") != command:
        made = edit.get("command") if isinstance(edit, dict) else "generate"
        if made == PYTHON:
            raise ValueError(f"{path}: made in Python, not by 'toprovar {command}': draw it again "
                             "there, or give the prompt and the settings here")
        raise ValueError(f"{path}: made by 'toprovar {made}', not by 'toprovar {command}': give it "
                         "to the command that made it")
    check_same("the picture", arguments.image, edit.get("image"))
    if getattr(arguments, "mask", None) is not None:
        check_same("--mask", arguments.mask, edit.get("mask"))
    for name in names_:
        if getattr(arguments, name) is None and edit.get(name) is not None:
            setattr(arguments, name, edit[name])
    found = taken_values(arguments, about)
    for name in ("seed", "cfg", "tau", "top_p", "greedy", "negative", "word_weights", "vae_tile",
                 "plan", "prompt"):
        if getattr(arguments, name, 0) is None:
            setattr(arguments, name, found.get(name))
    if not names_size(arguments):
        arguments.grids = found["grids"]

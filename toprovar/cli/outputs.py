"""Files that a command is about to write, checked before it begins: no two are one file, none is
also read, and none that exists is of another kind than what would be written there."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..picture_files import picture_text

if TYPE_CHECKING:
    from ..sparsity.strategies.base import Fit

_MOST_BYTES = 64 << 20
"""Of a description in JSON; what is larger is none of this program's."""


NOT_READ = ("prompt", "negative", "out", "report", "save_plan", "picture", "json", "calibrate",
            "grid")
"""Arguments that are no files, or are written to."""


@dataclass(frozen=True)
class Kind:
    """What a command writes to a place.

    Attributes:
        name: with its article, for messages.
        fits: whether an existing file is of this kind, from its path.
    """

    name: str
    fits: Callable[[Path], bool]


@dataclass(frozen=True)
class Output:
    """A file that an option names."""

    option: str
    path: Path
    kind: Kind


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true",
                        help="replace files that exist also where they are of another kind")


def check_outputs(arguments: argparse.Namespace, outputs: Sequence[Output],
                  not_read: Sequence[str] = NOT_READ) -> None:
    """ValueError that names the option and the file, if one of the outputs must not be written.

    A device or a pipe may be written to; it is never replaced.

    Args:
        not_read: names of arguments that are no files to be read.
    """
    inputs = {_identity(path): option for option, path in _inputs(arguments, not_read)}
    taken: dict[object, str] = {}
    for output in outputs:
        path, what = output.path, f"{output.option} {str(output.path)!r}"
        if path.is_dir():
            raise ValueError(f"{what} is a folder: name a file in it")
        if path.exists() and not path.is_file():
            continue
        one = _identity(path)
        if one in inputs:
            raise ValueError(f"{what} is also what {inputs[one]} reads: give it another name")
        if one in taken:
            raise ValueError(f"{what} is also the file of {taken[one]}: give each its own")
        taken[one] = output.option
        if (path.is_file() and path.stat().st_size and not arguments.overwrite
                and not output.kind.fits(path)):
            raise ValueError(f"{what} exists and is not {output.kind.name}: give another name, or "
                             "add --overwrite to replace it")


def _inputs(arguments: argparse.Namespace, not_read: Sequence[str]) -> list[tuple[str, Path]]:
    """(option, file) of every file that the command line names to be read."""
    found = []
    for name, value in vars(arguments).items():
        if name in not_read or not isinstance(value, str):
            continue
        for text in value.split(",") if name == "strategies" else [value]:
            if os.path.isfile(text):
                flag = f"--{name.rstrip('_').replace('_', '-')}"  # from_ is --from
                found.append((name if name == "file" else flag,
                              Path(text)))
    return found


def _identity(path: Path) -> object:
    """Equal for two names of one file."""
    if path.exists():
        found = path.stat()
        return found.st_dev, found.st_ino
    return os.path.normcase(os.path.realpath(path))


def _picture(path: Path) -> bool:
    """One that holds parameters."""
    try:
        return picture_text(path) is not None
    except ValueError:
        return False


def _json(fits: Callable[[Mapping[str, Any]], bool]) -> Callable[[Path], bool]:
    def check(path: Path) -> bool:
        if path.stat().st_size > _MOST_BYTES:
            return False
        try:
            content = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            return False
        return isinstance(content, dict) and fits(content)

    return check


def _with(*keys: str) -> Callable[[Path], bool]:
    return _json(lambda content: content.keys() >= set(keys))


def _safetensors(fits: Callable[[dict[str, Any]], bool]) -> Callable[[Path], bool]:
    """By what the header says about the file."""
    def check(path: Path) -> bool:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            text = file.read(min(length, _MOST_BYTES))
        try:
            about = json.loads(text).get("__metadata__")
        except (ValueError, AttributeError, RecursionError):
            return False
        return isinstance(about, dict) and fits(about)

    return check


PICTURE = Kind("a picture of this program", _picture)
PLAN = Kind("a sparsity plan", _with("strategy", "schedule", "scales"))
REPORT = Kind("a report of 'toprovar generate'", _with("plan", "params", "scales", "versions"))
FIGURES = Kind("figures of 'toprovar compare'", _with("strategies", "settings", "toprovar"))
SUMMARY = Kind("a summary of 'toprovar analyze'", _with("model", "prompts", "calibrated"))
TRACE = Kind("a trace of 'toprovar analyze'", _safetensors(lambda about: "toprovar" in about))
CALIBRATION = Kind("a calibration", _with("model", "entries", "rho_informative"))
BENCH = Kind("a file of 'toprovar bench'",
             _json(lambda content: content.get("format") == "toprovar-bench"))
DRAFT = Kind("a draft", _safetensors(lambda about: about.get("format") == "toprovar-draft"))
SHORTCUTS = Kind("a file of shortcuts",
                 _safetensors(lambda about: about.get("format") == "toprovar-shortcuts"))


def fitted(name: str, fit: Fit) -> Kind:
    """What is fitted for the strategy of a name."""
    return Kind(f"{fit.result} of 'toprovar fit-{name}'", _json(fit.known))

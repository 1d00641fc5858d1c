"""What is refused before torch is imported and a model is loaded: numbers, names, files and
folders. Every check raises a ValueError that names the option and says what was expected."""

from __future__ import annotations

import argparse
import os
import re
import shutil
from pathlib import Path

from ..arguments import (
    ATTENTION_BACKENDS,
    DTYPE_ALIASES,
    DTYPE_NAMES,
    MOST_IMAGES,
    check_prompts,
    guidance,
    number,
    seed_list,
    share,
    temperature,
    whole,
)
from ..files import check_pipeline_folder

DEVICES = re.compile(r"(auto|cpu|cuda|hip|mps|xpu|hpu|npu|xla|mtia|privateuseone)(:\d{1,3})?")
LEAST_FREE = 1 << 20
"""Bytes that a disk must have left before a run begins whose result goes there."""


def check_target(flag: str, path: str | Path | None, ending: str | None = None) -> None:
    """A file to be written: its ending, its folder, and room on the disk."""
    if path is None:
        return
    path = Path(path)
    if ending and path.suffix.lower() != ending:
        raise ValueError(f"{flag} must end in {ending}, got {str(path)!r}")
    try:
        if path.is_dir():
            raise ValueError(f"{flag} must be a file, {str(path)!r} is a folder")
        folder = path.absolute().parent
        if not folder.is_dir():
            raise ValueError(f"{flag}: the folder of {str(path)!r} does not exist: create it first")
        check_writable(flag, folder)
        if len(os.fsencode(path.name)) > 255 or "\0" in path.name:
            raise ValueError(f"{flag}: a file's name has at most 255 bytes, none of them 0")
    except OSError as error:
        raise ValueError(f"{flag}: {str(path)!r} cannot be written: {error.strerror}") from None


def check_folder(flag: str, path: str | Path | None) -> None:
    """A folder that files are written to, and that is created where it is missing."""
    if path is None:
        return
    folder = Path(path).absolute()
    if "\0" in str(folder) or any(len(os.fsencode(part)) > 255 for part in folder.parts):
        raise ValueError(f"{flag}: a folder's name has at most 255 bytes, none of them 0")
    try:
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        if not folder.is_dir():
            raise ValueError(f"{flag} must be a folder, {str(folder)!r} is a file")
        check_writable(flag, folder)
    except OSError as error:
        raise ValueError(f"{flag}: {str(path)!r} cannot be written: {error.strerror}") from None


def check_writable(flag: str, folder: Path) -> None:
    """A folder that files can be created in."""
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"{flag}: the folder {str(folder)!r} cannot be written to: choose another")
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE:
        raise ValueError(f"{flag}: the disk of {str(folder)!r} is full ({free} bytes free): make "
                         "room, or choose another")


def check_source(flag: str, path: str | None) -> None:
    """A file to be read."""
    if path is not None and not Path(path).is_file():
        raise ValueError(f"{flag}: there is no file {path!r}")


def check_model(arguments: argparse.Namespace) -> None:
    """Which model is meant, whether it is there, and where it is to run."""
    parts = {"--transformer": arguments.transformer, "--vae": arguments.vae,
             "--text-encoder": arguments.text_encoder}
    if any(parts.values()):
        if arguments.model or not all(parts.values()):
            raise ValueError("official checkpoints need --transformer, --vae and --text-encoder "
                             "together, and no --model")
        for flag in ("--transformer", "--vae"):
            if not Path(parts[flag]).exists():
                raise ValueError(f"{flag}: there is no file or folder {parts[flag]!r}")
    elif arguments.model:
        check_pipeline_folder(arguments.model)
    check_device(arguments.device)
    dtype = DTYPE_ALIASES.get(arguments.dtype, arguments.dtype)
    if dtype not in ("auto", *DTYPE_NAMES):
        raise ValueError(f"unknown dtype {arguments.dtype!r}; expected auto, "
                         f"{', '.join(DTYPE_NAMES)}")
    if arguments.attention not in ATTENTION_BACKENDS:
        raise ValueError(f"unknown attention backend {arguments.attention!r}; expected one of "
                         f"{', '.join(ATTENTION_BACKENDS)}")
    if arguments.stream is not None:
        whole("--stream", arguments.stream, 0)


def check_device(name: str) -> None:
    """Whether torch could know a device of this name; whether it is there shows later."""
    if not DEVICES.fullmatch(name):
        raise ValueError(f"unknown device {name!r}; expected auto, cpu, cuda, cuda:1 or mps")


def check_sampling(arguments: argparse.Namespace, images: int = 1) -> None:
    """Guidance, temperature, seed and prompts, as far as the command has them.

    Args:
        images: seeds that are counted up from the first.
    """
    if arguments.cfg is not None:
        guidance("--cfg", arguments.cfg)
    if arguments.tau is not None:
        temperature("--tau", arguments.tau)
    if getattr(arguments, "top_p", None) is not None:
        share("--top-p", arguments.top_p)
    if isinstance(arguments.prompt, str):
        check_prompts("the prompt", [arguments.prompt])
    if getattr(arguments, "negative", None) is not None:
        check_prompts("--negative", [arguments.negative])
    whole("--num", images, 1, MOST_IMAGES)
    seed_list(arguments.seed, images)


def check_budget(arguments: argparse.Namespace) -> None:
    """What the plan is to come down to."""
    if arguments.speedup is not None and number("--speedup", arguments.speedup) < 1:
        raise ValueError(f"--speedup must be 1 or more, got {arguments.speedup}")
    if arguments.budget is not None and share("--budget", arguments.budget) == 0:
        raise ValueError("--budget is a share of a dense run's FLOPs, above 0 and up to 1, got 0")

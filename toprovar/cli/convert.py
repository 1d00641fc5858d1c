"""``toprovar convert``."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("sources", nargs="+", metavar="SRC", help="official files or folders (transformer, VAE, "
        "text encoder), or one pipeline folder to convert back")
    add("destination", metavar="DST", help="pipeline folder to write; or, to convert back, a "
        ".safetensors or .pth file, or a folder")
    add("--ema", action="store_true", help="take the VAE's averaged weights, where a file has them")
    add("--overwrite", action="store_true", help="replace DST if it exists")


def run(arguments: argparse.Namespace) -> int:
    from ..checkpoints.convert import convert

    written = convert(
        [Path(source) for source in arguments.sources], Path(arguments.destination),
        ema=arguments.ema, overwrite=arguments.overwrite,
    )
    for line in written:
        print(line)
    return 0

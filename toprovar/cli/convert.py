"""``toprovar convert``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..printable import printable
from .model_options import add_family


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("sources", nargs="+", metavar="SRC", help="official files or folders (transformer, VAE, "
        "flan-t5-xl as a folder or one .safetensors file), or one pipeline folder to convert back")
    add("destination", metavar="DST", help="pipeline folder to write; or, to convert back, a "
        ".safetensors or .pth file, or a folder")
    add("--ema", action="store_true", help="take averaged weights in place of the plain "
        "ones (official training files hold both); a VAE must have them, a transformer without "
        "gives its plain ones")
    add("--pn", help="pixel budget of the 512 x 512 8B model, whose weights look like 8B's: 0.25M "
        "(default: as recognised, of VAREdit by the size in the file's name)")
    add_family(parser)
    add("--patchify", action=argparse.BooleanOptionalAction, default=None,
        help="tokens hold 2 x 2 latent pixels (default: as recognised)")
    add("--max-shard-bytes", type=int, default=5_000_000_000, metavar="N",
        help="size of a file at most; a larger model is written in several (default: "
             "5,000,000,000)")
    add("--overwrite", action="store_true", help="replace DST if it exists")


def run(arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ..checkpoints.convert import convert

    with tqdm(unit="B", unit_scale=True, desc="convert") as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        written = convert(
            [Path(source) for source in arguments.sources], Path(arguments.destination),
            max_shard_bytes=arguments.max_shard_bytes, ema=arguments.ema,
            patchify=arguments.patchify, pn=arguments.pn, family=arguments.family,
            overwrite=arguments.overwrite, progress=progress,
        )
    for line in written:
        print(printable(line))
    return 0

"""``toprovar batch``: a file of prompts in, a folder of pictures and a manifest out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import whole
from ..batch.jobs import AUTO, ENDINGS, Job, Settings, carried
from ..batch.row_files import read_rows
from ..batch.rows import BadRow, Row, size_of
from ..batch.storage import is_address
from ..printable import printable, safe_lines
from ..sparsity.strategies.registry import default_strategy, names
from .batch_source import CommandSource
from .early import check_folder, check_model, check_sampling
from .generate_jobs import TOP_P, settle
from .model_options import add_device, add_model, add_size, add_weights, find_size, names_size
from .plan_options import add_plan_options, check_options, saved_plan

if TYPE_CHECKING:
    from tqdm import tqdm

    from ..batch.local import Batch, Summary

MOST_TOLD = 10
"""Failed rows that are listed; the manifest has all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("prompts", metavar="PROMPTS", help="a text file with a prompt a line, or CSV or JSON Lines "
        "with the columns prompt and, where wanted, negative, seed, size, cfg, plan and name; "
        "other columns are carried into the manifest")
    add("--out", metavar="DIR", required=True, help="folder of the pictures and of manifest.jsonl; "
        "the same command continues where it stopped. Also an address that fsspec knows, such as "
        "s3://bucket/folder")
    add("--manifest", metavar="DIR", help="folder of the manifest, where --out is an address "
        "(default: none)")
    add("--format", choices=list(ENDINGS), default="png", help="of the pictures (default: png)")
    add("--quality", type=int, metavar="N", default=95, help="of JPEG and WebP, 1 to 100; WebP of "
        "100 is lossless (default: 95)")
    add("--latents", action="store_true", help="write the summed codes beside each picture, as "
        ".safetensors")
    add("--contact-sheet", action="store_true", help="small pictures of all on sheets as well")
    add("--batch", metavar="N", default="1", help="pictures drawn at once. 1: each alone, bit by "
        "bit the picture of 'toprovar generate'. More, or auto (as many as pay, by measurement), "
        "is faster on a GPU, and sums are rounded otherwise: bits that were near a tie can differ "
        "(default: 1)")
    add("--retry-failed", action="store_true", help="try rows again that failed before")
    add("--num", type=int, default=1, help="how many pictures of each row (default: 1)")
    add("--quiet", action="store_true", help="print errors only")
    rows = parser.add_argument_group("for rows that say nothing themselves")
    add = rows.add_argument
    add("--seed", type=int, default=0, help="picture i of all is drawn from seed + i (default: 0)")
    add("--negative", metavar="TEXT", help="what to steer away from (default: nothing)")
    add("--cfg", type=float, help="guidance strength; 1 = off (default: the model's)")
    add("--plan", metavar="PLAN", help=f"what to leave out: auto, {', '.join(names())}, or a file "
        f"of 'toprovar plan make' (default: dense, or {default_strategy()} with --speedup or "
        "--budget)")
    add_size(parser)
    every = parser.add_argument_group("for all rows")
    add = every.add_argument
    add("--tau", type=float, help="temperature (default: the model's)")
    add("--top-p", type=float, help="share of the likeliest values that is drawn from (default: "
        f"{TOP_P})")
    add("--greedy", action="store_const", const=True, help="take the likelier bit everywhere "
        "(default: draw)")
    add("--vae-tile", type=int, metavar="N",
        help="decode in tiles of N latent pixels (default: at once)")
    add_weights(parser)
    add_model(parser)
    add_device(parser)
    ray = parser.add_argument_group("several GPUs and machines", "needs toprovar[ray]")
    add = ray.add_argument
    add("--ray", nargs="?", const="local", metavar="ADDRESS", help="share the rows between workers "
        "of a Ray cluster: started here, or the one at ADDRESS (default: one process)")
    add("--workers", type=int, metavar="N", help="how many (default: one for each GPU of the "
        "cluster, or 1)")
    add_plan_options(parser)
    parser.set_defaults(prompt=None)


def run(arguments: argparse.Namespace) -> int:
    settle(arguments)
    if arguments.plan is None and {arguments.speedup, arguments.budget} != {None}:
        arguments.plan = default_strategy()
    _check(arguments)
    rows = read_rows(arguments.prompts)
    others = carried(rows)
    if others and not arguments.quiet:
        told = ", ".join(others[:20])
        print(printable(f"note: columns that are not read, but carried into the manifest: {told}"))
    batch = _batch(arguments, rows)
    saved_plan(arguments.plan)
    check_options(arguments, _plans(arguments, batch))
    if arguments.ray is not None:
        from ..batch.on_ray import check_ray

        check_ray()
    try:
        done = _drawn(arguments, batch)
    except KeyboardInterrupt:
        if not arguments.quiet:
            print("stopped, finished pictures are kept: run the same command again to continue",
                  file=sys.stderr)
        raise
    sheets = _sheets(arguments, batch)
    if not arguments.quiet:
        _show(arguments, batch, done, sheets)
    return 1 if done.failed else 0


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what can be refused before the file is read."""
    check_sampling(arguments, arguments.num)
    whole("--quality", arguments.quality, 1, 100)
    if arguments.vae_tile is not None:
        whole("--vae-tile", arguments.vae_tile, 4)
    if arguments.workers is not None:
        whole("--workers", arguments.workers, 1)
        if arguments.ray is None:
            raise ValueError("--workers needs --ray: without --ray one process draws")
    if is_address(arguments.out):
        if arguments.manifest is None:
            raise ValueError("--out is an address, and the manifest cannot grow there line by "
                             "line: name a local folder for it with --manifest")
        check_folder("--manifest", arguments.manifest)
    else:
        if arguments.manifest is not None:
            raise ValueError("--manifest is only for --out ADDRESS: leave it out. In a folder the "
                             "manifest lies beside the pictures")
        check_folder("--out", arguments.out)
    if names_size(arguments):
        find_size(arguments, "1M")
    check_model(arguments)


def _batch(arguments: argparse.Namespace, rows: list[Row | BadRow]) -> Batch:
    from ..batch.local import Batch

    size = size_of(arguments.size) if arguments.size else None
    settings = Settings(
        arguments.seed, arguments.num, arguments.negative, size, arguments.cfg, arguments.plan,
        arguments.tau, arguments.top_p, arguments.greedy, arguments.word_weights,
        arguments.vae_tile, arguments.format, arguments.quality, arguments.latents,
        _at_once(arguments.batch))
    folder = Path(arguments.manifest or arguments.out)
    return Batch(rows, arguments.out, settings, CommandSource(arguments), folder,
                 arguments.retry_failed)


def _at_once(text: str) -> int:
    """``--batch`` as ``Settings`` has it."""
    if text == "auto":
        return AUTO
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"--batch must be a whole number from 1 on, or auto, got {text!r}")
    return int(text)


def _plans(arguments: argparse.Namespace, batch: Batch) -> list[str]:
    """All plans that rows ask for and that there are; a row that asks for another fails alone."""
    from ..sparsity.strategies.registry import all_strategies
    from .plan_options import AUTO as AUTO_PLAN

    asked = {job.plan for job in batch.jobs if isinstance(job, Job) and job.plan}
    known = {*all_strategies(), AUTO_PLAN}
    return sorted({arguments.plan or "dense"} | (asked & known))


def _bar(arguments: argparse.Namespace, done: int, total: int) -> tqdm:
    """Pictures finished, with their rate and the time left."""
    from tqdm import tqdm

    still = 0.5 if sys.stderr.isatty() else 10
    return tqdm(total=total, initial=done, desc="pictures", unit="picture", disable=arguments.quiet,
                mininterval=still, smoothing=0.1, dynamic_ncols=True)


def _drawn(arguments: argparse.Namespace, batch: Batch) -> Summary:
    bar: tqdm | None = None

    def progress(done: int, total: int) -> None:
        nonlocal bar
        if bar is None:  # what was there before says nothing of this run's rate
            bar = _bar(arguments, done, total)
        bar.update(done - bar.n)

    try:
        if arguments.ray is None:
            return batch.run(progress=progress)
        from ..batch.on_ray import run_batch

        return run_batch(batch, None if arguments.ray == "local" else arguments.ray,
                         arguments.workers, progress=progress)
    finally:
        if bar is not None:
            bar.close()


def _sheets(arguments: argparse.Namespace, batch: Batch) -> list[str]:
    if not arguments.contact_sheet:
        return []
    from ..batch.folder import MANIFEST
    from ..batch.manifest import DRAWN, Manifest
    from ..batch.sheets import write_sheets

    assert batch.folder is not None
    lines = Manifest(batch.folder / MANIFEST).lines
    return write_sheets(batch.storage, [
        lines[place] for place in sorted(lines) if lines[place]["status"] == DRAWN])


def _show(arguments: argparse.Namespace, batch: Batch, done: Summary, sheets: list[str]) -> None:
    from ..batch.folder import MANIFEST

    assert batch.folder is not None
    failed = f", {done.failed} failed" if done.failed else ""
    print(printable(f"{arguments.out}: {done.drawn} pictures, {done.new} of them new{failed}; "
                    f"{batch.folder / MANIFEST}"))
    for name in sheets:
        print(printable(f"{arguments.out}/{name}"))
    lines = [f"failed: row {row}: {reason}" for row, reason in done.failures[:MOST_TOLD]]
    if done.failed > MOST_TOLD:
        lines.append(f"... and {done.failed - MOST_TOLD} more, see the manifest")
    if lines:
        lines.append("put these rows right, or add --retry-failed to try them again")
        print(safe_lines(lines))

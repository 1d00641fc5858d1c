"""What ``toprovar generate`` is to draw: every prompt with its seeds and files."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from ..arguments import MOST_IMAGES, check_prompts, seed_list, whole
from .prompt_rows import Row, read_rows

TOP_P = 0.97
MOST_PICTURES = 10_000
SEEDS = 1 << 64


@dataclass(frozen=True)
class Job:
    """One prompt.

    Attributes:
        seeds, paths: of its pictures.
    """

    prompt: str
    negative: str | None
    seeds: list[int]
    paths: list[Path]


def settle(arguments: argparse.Namespace) -> None:
    """Defaults of what a picture drawn again may bring along."""
    for name, value in (("seed", 0), ("top_p", TOP_P), ("greedy", False), ("dtype", "auto")):
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)


def make_jobs(arguments: argparse.Namespace, out: Path) -> list[Job]:
    """Every prompt. Seeds count on over all pictures; a seed of a row counts on within it.

    Raises:
        ValueError: no prompt or too many sources of them, a bad file, too many pictures.
    """
    if (arguments.prompt is None) == (arguments.prompts is None):
        raise ValueError("give a prompt, or --prompts FILE" + (
            "" if arguments.prompt is None else ", not both") + ", or --from PICTURE")
    each = whole("--num", arguments.num, 1, MOST_IMAGES)
    rows = [Row(check_prompts("the prompt", [arguments.prompt])[0])] \
        if arguments.prompts is None else read_rows(arguments.prompts)
    if len(rows) * each > MOST_PICTURES:
        raise ValueError(f"{len(rows)} prompts by {each} pictures are {len(rows) * each}, "
                         f"{MOST_PICTURES} at most")
    places = iter(numbered(out, len(rows) * each))
    seeds = iter(seed_list(arguments.seed, len(rows) * each))
    jobs = []
    for row in rows:
        paths, own = [next(places) for _ in range(each)], [next(seeds) for _ in range(each)]
        if row.name is not None:
            paths = numbered(out.with_name(row.name + out.suffix), each)
        if row.seed is not None:
            own = seed_list(row.seed, each)
        jobs.append(Job(row.prompt, row.negative or arguments.negative, own, paths))
    return jobs


def numbered(path: Path, count: int) -> list[Path]:
    """``path`` alone, or with -1, -2 ... before its ending."""
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{i + 1}{path.suffix}") for i in range(count)]

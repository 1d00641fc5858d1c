"""What ``toprovar generate`` is to draw: every prompt with its seeds and files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import MOST_IMAGES, check_prompts, seed_list, whole
from ..picture_files import numbered
from ..printable import one_line
from .prompt_rows import Row, read_rows

if TYPE_CHECKING:
    from ..sampling.report import RunReport

TOP_P = 0.97
MOST_PICTURES = 10_000
MOST_SHOWN = 40
"""Characters of a prompt before a note on it."""
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
    for name, value in (("seed", 0), ("top_p", TOP_P), ("greedy", False), ("dtype", "auto"),
                        ("word_weights", True)):
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
        raise ValueError(f"{len(rows)} prompts with {each} pictures each are {len(rows) * each} "
                         f"pictures: one command draws at most {MOST_PICTURES}")
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


def notes_of(reports: Sequence[RunReport], owners: Sequence[Job]) -> list[str]:
    """Lines for the notes of runs: those of the first, and what is noted of the other prompts.

    Args:
        owners: whose run each report is of.
    """
    lines = [f"note: {note}" for note in reports[0].notes]
    several = len({job.prompt for job in owners}) > 1
    for report, job in zip(reports, owners, strict=True):
        about = [note for note in report.notes if note.startswith(("the prompt", "the negative"))]
        if several and about:
            lines = [line for line in lines if line[len("note: "):] not in about]
            lines += [f"note ({one_line(job.prompt)[:MOST_SHOWN]}): {note}" for note in about]
    return list(dict.fromkeys(lines))

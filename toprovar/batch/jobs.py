"""Jobs: rows with everything decided, a picture each, and who they are from run to run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..arguments import MOST_IMAGES, SEEDS, seed_list, whole
from .rows import BadRow, Row

ENDINGS = {"png": ".png", "jpg": ".jpg", "webp": ".webp"}
KINDS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}
"""As ``picture_files.encode_picture`` calls them."""
LATENTS = ".safetensors"
AUTO = 0
"""As ``Settings.batch``: found by measurement."""


@dataclass(frozen=True)
class Settings:
    """The settings of a batch: what is the same for all rows, and what is taken where a row says
    nothing.

    Attributes:
        seed: the seed of the first picture. Picture i of all has seed + i, unless its row has a
            seed.
        num: how many pictures are drawn of each row.
        negative: what to steer away from, of rows that say nothing. None = the model's learned
            empty text.
        size: (width, height) in pixels, of rows that say nothing. None = the model's size.
        cfg: the strength of guidance, of rows that say nothing. None = the model's.
        plan: the name of a strategy, "auto" or a plan file, of rows that say nothing. None =
            nothing is left out.
        tau, top_p, greedy, vae_tile: as in a call of ``InfinityPipeline``.
        word_weights: whether weights such as ``(word:1.2)`` in prompts are read.
        format: the format of the pictures: "png", "jpg" or "webp".
        quality: the quality of "jpg" and "webp", 1 to 100.
        latents: whether the summed codes are written beside each picture.
        batch: how many pictures are drawn at once. 1 = each alone, which gives exactly the picture
            of ``toprovar generate``. More = numbers are rounded in another way, so that single bits
            can differ. 0 = as many as pay on this device, by measurement.

    Raises:
        ValueError: a value is out of range.
    """

    seed: int = 0
    num: int = 1
    negative: str | None = None
    size: tuple[int, int] | None = None
    cfg: float | None = None
    plan: str | None = None
    tau: float | None = None
    top_p: float = 0.97
    greedy: bool = False
    word_weights: bool = True
    vae_tile: int | None = None
    format: str = "png"
    quality: int = 95
    latents: bool = False
    batch: int = 1

    def __post_init__(self) -> None:
        if self.format not in ENDINGS:
            raise ValueError(f"format must be one of {', '.join(ENDINGS)}, got {self.format!r}")
        whole("quality", self.quality, 1, 100)
        whole("num", self.num, 1, MOST_IMAGES)
        whole("batch", self.batch, 0, MOST_IMAGES)
        seed_list(self.seed, 1)

    def deciding(self) -> dict[str, Any]:
        """The settings that decide how all pictures look and are not part of a single row, as JSON
        values."""
        keep = ("tau", "top_p", "greedy", "word_weights", "vae_tile", "format", "quality",
                "latents", "num")
        return {name: value for name, value in asdict(self).items() if name in keep}


@dataclass(frozen=True)
class Job:
    """One picture.

    Attributes:
        row: number of its row, from 1; picture: of the row, from 1.
        id: 16 hexadecimal digits, a hash of all that is asked for below.
        name: of its file, without the ending.
        negative, size, cfg, plan: None = the model's own.
        columns: of the row, for the manifest.
    """

    row: int
    picture: int
    id: str
    name: str
    prompt: str
    negative: str | None
    seed: int
    size: tuple[int, int] | None
    cfg: float | None
    plan: str | None
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> tuple[int, int, str]:
        """By which it is known in the manifest: its place and what is asked for."""
        return self.row, self.picture, self.id


@dataclass(frozen=True)
class Unread:
    """A row that is no job, with its reason; ``id`` is of what stood there."""

    row: int
    id: str
    reason: str
    columns: Mapping[str, Any] = field(default_factory=dict)
    picture: int = 1

    @property
    def key(self) -> tuple[int, int, str]:
        return self.row, self.picture, self.id


def make_jobs(rows: Iterable[Row | BadRow], settings: Settings) -> list[Job | Unread]:
    """A job for every picture, or one ``Unread`` for a row that cannot be drawn.

    Seeds and names depend on the row's own number alone, not on what other rows are.
    """
    made: list[Job | Unread] = []
    names: dict[str, int] = {}
    rows = list(rows)
    digits = max(6, len(str(max((row.number for row in rows), default=0))))
    for row in rows:
        if isinstance(row, BadRow):
            made.append(Unread(row.number, identity(dict(row.found)), row.reason, row.found))
            continue
        jobs = jobs_of(row, settings, digits)
        taken = [names[job.name.casefold()] for job in jobs if job.name.casefold() in names]
        if taken:
            made.append(Unread(row.number, jobs[0].id, f"its file's name {jobs[0].name!r} is also "
                               f"that of row {taken[0]}", row.columns))
            continue
        names.update((job.name.casefold(), row.number) for job in jobs)
        made += jobs
    return made


def jobs_of(row: Row, settings: Settings, digits: int = 6) -> list[Job]:
    """The pictures of one row."""
    count = settings.num
    base = row.name or f"{row.number:0{digits}d}"
    found = []
    for i in range(count):
        first, further = (settings.seed, (row.number - 1) * count + i) if row.seed is None \
            else (row.seed, i)
        seed = first if not further else (first + further) % SEEDS
        asked = {
            "prompt": row.prompt, "negative": row.negative or settings.negative, "seed": seed,
            "size": row.size or settings.size, "cfg": settings.cfg if row.cfg is None else row.cfg,
            "plan": row.plan or settings.plan,
        }
        name = base if count == 1 else f"{base}-{i + 1}"
        who = identity({**asked, "plan": _plan_told(row.plan or settings.plan)})
        found.append(Job(row.number, i + 1, who, name, columns=row.columns, **asked))
    return found


def _plan_told(plan: str | None) -> str | None:
    """A plan's name; of a file, what it holds."""
    if plan is None or not os.path.isfile(plan):
        return plan
    about = os.stat(plan)
    return _digest(plan, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=256)
def _digest(path: str, size: int, changed: int) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def identity(asked: Mapping[str, Any]) -> str:
    """The same for the same values, in any process and on any machine."""
    text = json.dumps(asked, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def carried(rows: Sequence[Row | BadRow]) -> list[str]:
    """Names of columns that are not read, in order."""
    return list(dict.fromkeys(name for row in rows if isinstance(row, Row) for name in row.columns))

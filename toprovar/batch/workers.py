"""What a worker of a Ray cluster does: one model, blocks of rows in, lines or columns out.

Nothing here needs Ray, so that a worker can be tried without one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from .jobs import Job, Settings, Unread, identity, jobs_of
from .rows import BadRow, Row, row_of
from .source import Source
from .storage import NoRoomError, Storage

if TYPE_CHECKING:
    from PIL import Image

ROW = "row"
"""Column with the number of a row, from 1."""
STOPPED = "stopped"
"""In place of a line: why no picture can be written any more."""
THREADS = 2


class Worker:
    """Draws blocks of jobs; the model is loaded once.

    Args:
        place: where pictures go; None = back to the caller, as bytes.
    """

    def __init__(self, source: Source, settings: Settings, place: str | None) -> None:
        from .drawing import Drawer

        self.source, self.settings = source, settings
        self.storage = Kept() if place is None else Storage(place)
        self.draw = Drawer(source.load(), source, settings)

    def lines(self, jobs: Sequence[Job | Unread]) -> list[dict[str, Any]]:
        """The manifest's lines of jobs, in their order; their pictures are in place."""
        from .drawing import Undrawn
        from .writing import Encoder, Writers, failed_line

        found: dict[tuple[int, int, str], dict[str, Any]] = {}

        def finished(line: dict[str, Any], image: Image.Image | None) -> None:
            found[line["row"], line["picture"], line["id"]] = line

        writers = Writers(Encoder(self.storage, self.settings, self.source.graph), finished,
                          THREADS)
        try:
            self.draw.check = writers.check
            for each in self.draw([job for job in jobs if isinstance(job, Job)]):
                if isinstance(each, Undrawn):
                    writers.tell(failed_line(each))
                else:
                    writers.put(each)
        finally:
            writers.close()
        writers.check()
        return [failed_line(job) if isinstance(job, Unread) else found[job.key] for job in jobs]


class JobWorker(Worker):
    """Jobs as JSON in a column "job", lines of the manifest as JSON in a column "line"."""

    def __call__(self, block: Mapping[str, Any]) -> dict[str, list[Any]]:
        """A picture that cannot be written is a line {"stopped": why}: an error would come to the
        caller wrapped in Ray's account of it."""
        jobs = [job_from_json(str(text)) for text in block["job"]]
        try:
            lines = self.lines(jobs)
        except NoRoomError as error:
            lines = [{STOPPED: str(error)}]
        return {"line": [json.dumps(line) for line in lines]}


class RowWorker(Worker):
    """Rows as columns, the same columns and those of the pictures out.

    Rows that are given a number in the column "row" have seeds and names by it as ``toprovar
    batch`` gives them. Others have the settings' seed, and the hash of what they ask for as name.
    """

    def __call__(self, block: Mapping[str, Any]) -> dict[str, list[Any]]:
        names = list(block)
        rows = [{name: _value(block[name][i]) for name in names}
                for i in range(len(block[names[0]]))] if names else []
        jobs, owners = list[Job | Unread](), list[dict[str, Any]]()
        for row in rows:
            own = self._jobs(row)
            jobs += own
            owners += [row] * len(own)
        # Jobs that are equal are drawn once.
        single = list({job.key: job for job in jobs}.values())
        lines = {line_key(line): line for line in self.lines(single)}
        columns: dict[str, list[Any]] = {name: [row[name] for row in owners] for name in names}
        return {**columns, **self._pictures([lines[job.key] for job in jobs])}

    def _jobs(self, row: dict[str, Any]) -> list[Job | Unread]:
        numbered = row.get(ROW) is not None
        number = int(row[ROW]) if numbered else 1
        asked = {name: value for name, value in row.items() if name != ROW}
        found: Row | BadRow = row_of(number, asked)
        if isinstance(found, BadRow):
            return [Unread(number, identity(asked), found.reason)]
        jobs = jobs_of(replace(found, columns={}), self.settings)
        if numbered or found.name is not None:
            return list(jobs)
        return [replace(job, name=job.id) for job in jobs]

    def _pictures(self, lines: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
        told: dict[str, list[Any]] = {
            "picture_status": [line["status"] for line in lines],
            "picture_reason": [line.get("reason", "") for line in lines],
            "picture_id": [line["id"] for line in lines],
            "picture_seed": [str(line.get("seed", "")) for line in lines],
            "picture_width": [int(line.get("width", 0)) for line in lines],
            "picture_height": [int(line.get("height", 0)) for line in lines],
            "picture_seconds": [float(line.get("seconds", 0)) for line in lines],
            "picture_file": [line.get("file", "") for line in lines],
        }
        if isinstance(self.storage, Kept):
            files = self.storage.taken()
            told["picture"] = [files.get(line.get("file", ""), b"") for line in lines]
        return told


class Kept(Storage):
    """Keeps files in memory, for the caller."""

    def __init__(self) -> None:
        super().__init__("")
        self.files: dict[str, bytes] = {}

    def put(self, name: str, content: bytes) -> str:
        self.files[name] = content
        return name

    def taken(self) -> dict[str, bytes]:
        """All files; they are not kept any longer."""
        files, self.files = self.files, {}
        return files


def line_key(line: Mapping[str, Any]) -> tuple[int, int, str]:
    return line["row"], line["picture"], line["id"]


def job_to_json(job: Job) -> str:
    return json.dumps({**asdict(job), "columns": dict(job.columns)}, default=str)


def job_from_json(text: str) -> Job:
    found = json.loads(text)
    size = found.pop("size")
    return Job(size=None if size is None else (size[0], size[1]), **found)


def _value(value: Any) -> Any:
    """A cell as Python's own."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value



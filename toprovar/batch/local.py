"""A batch in one process: one model, rows in, pictures and a manifest out."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .folder import MANIFEST, agree, clear, held
from .jobs import ENDINGS, Job, Settings, Unread, make_jobs
from .manifest import DRAWN, FAILED, Manifest, counts
from .rows import BadRow, Row
from .source import Source
from .storage import FULL, NoRoomError, Storage, is_address

if TYPE_CHECKING:
    from PIL import Image

    from ..pipeline import InfinityPipeline
    from ..sampling.run import ScaleState
    from .drawing import Host

FAULTS_IN_A_ROW = 8
"""Pictures one after the other that fail for a reason that is not their row's: then it is not."""


@dataclass(frozen=True)
class Summary:
    """The result of a batch.

    Attributes:
        drawn: how many pictures are finished, earlier runs included.
        failed: how many rows failed, earlier runs included.
        new: how many pictures this run drew.
        files: the files of all pictures, in the order of their rows.
        failures: (number of the row, reason) of each row that failed.
    """

    drawn: int
    failed: int
    new: int
    files: tuple[str, ...]
    failures: tuple[tuple[int, str], ...]


@dataclass
class Batch:
    """A batch of rows and the folder that its pictures go to. A batch that was stopped goes on when
    it is made and run again with the same arguments.

    Args:
        rows: what to draw; see :func:`toprovar.batch.read_rows`.
        out: the folder of the pictures, or an address that fsspec knows.
        settings: the settings of all rows.
        source: the model to draw with.
        folder: where manifest, description and lock lie. None = ``out``, which then must be a
            folder.
        retry: True = rows that failed before are tried again.

    Raises:
        ValueError: ``out`` is an address and ``folder`` is None.
    """

    rows: Sequence[Row | BadRow]
    out: str | Path
    settings: Settings
    source: Source
    folder: Path | None = None
    retry: bool = False
    jobs: list[Job | Unread] = field(init=False)
    storage: Storage = field(init=False)

    def __post_init__(self) -> None:
        self.storage = Storage(self.out)
        if self.folder is None:
            if is_address(str(self.out)):
                raise ValueError(f"{self.out} is an address, and the manifest cannot grow there "
                                 "line by line: also name a local folder for the manifest")
            self.folder = Path(self.out)
        self.jobs = make_jobs(self.rows, self.settings)

    def told(self) -> dict[str, Any]:
        """What decides how the pictures look, as JSON values; it is written into the folder."""
        place = str(self.out) if is_address(str(self.out)) else None
        return {**self.source.told(), **self.settings.deciding(), "out": place}

    def opened(self) -> tuple[Manifest, list[Job | Unread]]:
        """The manifest, without lines of pictures that are gone, and the pictures that are still to
        be drawn.

        Raises:
            ValueError: the folder holds pictures of other rows, or files would be replaced that are
                not the batch's.
        """
        assert self.folder is not None
        manifest = Manifest(self.folder / MANIFEST)
        before = manifest.keys()
        there = self.storage.sizes()
        clear(self.folder)
        wanted = {job.key for job in self.jobs}

        def true(line: dict[str, Any]) -> bool:
            known = (line["row"], line["picture"], line["id"]) in wanted
            if line["status"] == FAILED:
                return known and not self.retry
            if not known:
                raise ValueError(
                    f"{self.folder}: row {line['row']} was already drawn with another text or "
                    f"other settings ({line['file']}): restore the row, or give another folder. "
                    "New rows may be added at the end")
            # Where files cannot be listed, what was written there is believed.
            return there is None or there.get(line["file"]) == line["bytes"]

        manifest.keep(true)
        known = manifest.keys()
        todo = [job for job in self.jobs if job.key not in known]
        _check_free(self.storage, there or {}, ENDINGS[self.settings.format], [
            job for job in todo if isinstance(job, Job) and job.key not in before])
        return manifest, todo

    def run(self, *, pipeline: InfinityPipeline | None = None, threads: int = 2,
            progress: Callable[[int, int], None] = lambda done, total: None,
            check: Callable[[], None] = lambda: None,
            on_scale: Callable[[ScaleState], None] | None = None,
            host: Host | None = None,
            on_picture: Callable[[dict[str, Any], Image.Image], None] | None = None,
            chunks: Callable[[Job], dict[str, str]] = lambda job: {}) -> Summary:
        """Draw the pictures that the folder lacks, in this process.

        Args:
            pipeline: a pipeline to draw with. None = the source loads one.
            threads: how many threads write pictures.
            progress: a function that is called with (finished pictures, all pictures), from any
                thread.
            check: a function that is called before every layer. An exception that it raises ends
                the batch; finished pictures stay.
            on_scale: a function that is called after each scale with the run's ``ScaleState``.
            host: brings the model's parts to their devices, for programs that manage memory
                themselves, such as ComfyUI.
            on_picture: a function that is called with the line of the manifest and the picture, as
                soon as a picture is written.
            chunks: a function that gives more texts for a picture's PNG file.

        Raises:
            ValueError: the folder cannot be used; nothing was drawn.
            NoRoomError: the disk is full.
        """
        from .drawing import Drawer, Undrawn
        from .writing import Encoder, Writers, failed_line

        assert self.folder is not None
        with held(self.folder):
            agree(self.folder, self.told())
            manifest, todo = self.opened()
            total, new = len(self.jobs), 0
            ready = [job for job in todo if isinstance(job, Job)]
            if ready and pipeline is None:
                pipeline = self.source.load()
            progress(len(manifest.lines), total)

            def finished(line: dict[str, Any], image: Image.Image | None) -> None:
                nonlocal new
                add_line(manifest, line)
                new += line["status"] == DRAWN
                progress(len(manifest.lines), total)
                if on_picture is not None and image is not None:
                    on_picture(line, image)

            encode = Encoder(self.storage, self.settings, self.source.graph, chunks)
            writers = Writers(encode, finished, threads)

            def stop() -> None:
                writers.check()
                check()

            try:
                for job in todo:
                    if isinstance(job, Unread):
                        writers.tell(failed_line(job))
                if pipeline is not None:
                    draw = Drawer(pipeline, self.source, self.settings, stop, on_scale, host)
                    faults = 0
                    for found in draw(ready):
                        if isinstance(found, Undrawn):
                            writers.tell(failed_line(found))
                            faults = faults + 1 if found.strange else 0
                            if faults >= FAULTS_IN_A_ROW:
                                raise ValueError(
                                    f"{faults} pictures one after the other failed, the last: "
                                    f"{found.reason}. The remaining rows were not tried. Failed "
                                    "rows are tried again only with --retry-failed (on the "
                                    "node: retry failed)")
                        else:
                            faults = 0
                            writers.put(found)
            finally:
                writers.close()
                manifest.close()
            writers.check()
            return summary(manifest, self.jobs, new)


def summary(manifest: Manifest, jobs: Sequence[Job | Unread], new: int) -> Summary:
    """Of a manifest as it stands."""
    lines = [manifest.lines[job.row, job.picture] for job in jobs
             if (job.row, job.picture) in manifest.lines]
    told = counts(lines)
    return Summary(
        told[DRAWN], told[FAILED], new,
        tuple(line["file"] for line in lines if line["status"] == DRAWN),
        tuple((line["row"], line["reason"]) for line in lines if line["status"] == FAILED))


def add_line(manifest: Manifest, line: dict[str, Any]) -> None:
    """Add a line; a NoRoomError where the disk is full."""
    try:
        manifest.append(line)
    except OSError as error:
        reason = FULL.get(error.errno or errno.EIO, error.strerror or str(error))
        raise NoRoomError(f"{manifest.path} cannot be written: {reason}. Finished pictures are "
                          "kept: make room and run the same command again to continue") from None


def _check_free(storage: Storage, there: Mapping[str, int], ending: str,
                jobs: Sequence[Job]) -> None:
    """ValueError if a picture would replace a file that is none of this program's.

    Args:
        there: bytes of the files that are there, by name.
    """
    from ..picture_files import picture_text

    for job in jobs:
        name = job.name + ending
        if name not in there:
            continue
        try:
            own = not there[name] or picture_text(io.BytesIO(storage.read(name))) is not None
        except (OSError, ValueError):
            own = False
        if not own:
            raise ValueError(f"{storage.place.rstrip('/')}/{name} exists and is not a picture of "
                             "this program: give another folder, or give the row another name")

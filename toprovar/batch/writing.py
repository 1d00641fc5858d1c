"""Pictures to files, beside the drawing of the next ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..picture_files import encode_picture
from .drawing import Drawn, Undrawn
from .jobs import ENDINGS, KINDS, LATENTS, Job, Settings, Unread
from .manifest import DRAWN, FAILED
from .storage import Storage

if TYPE_CHECKING:
    from PIL import Image

WAITING = 2
"""Pictures that may wait for each thread; then drawing waits for writing."""


@dataclass(frozen=True)
class Encoder:
    """Turns what was drawn into files and a line of the manifest; can be used from threads.

    Attributes:
        graph: as ``Source.graph``; chunks: further texts of each PNG, by name.
    """

    storage: Storage
    settings: Settings
    graph: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda parameters: None
    chunks: Callable[[Job], dict[str, str]] = lambda job: {}

    def __call__(self, drawn: Drawn) -> tuple[dict[str, Any], Image.Image]:
        """Write a picture (and its latents first); its line, and the picture.

        Raises:
            NoRoomError: it could not be written.
        """
        job, settings = drawn.job, self.settings
        image = drawn.picture()
        about = {**drawn.parameters, "row": row_told(job)}
        content, left = encode_picture(image, KINDS[settings.format], about, settings.quality,
                                       self.graph(about), self.chunks(job))
        more: dict[str, Any] = {}
        if drawn.codes is not None:
            from safetensors.torch import save

            more["latents"] = self.storage.put(job.name + LATENTS,
                                               save({"summed_codes": drawn.codes.contiguous()}))
        name = self.storage.put(job.name + ENDINGS[settings.format], content)
        notes = list(drawn.notes)
        if left:
            notes.append(f"too large for the picture's file and left out: {', '.join(left)}")
        line = {**_head(job), "status": DRAWN, "file": name, "bytes": len(content), **more,
                "width": image.width, "height": image.height, "seed": job.seed,
                "together": drawn.together, "seconds": round(drawn.seconds, 4),
                **({"notes": notes} if notes else {}), **_tail(job)}
        return line, image


def failed_line(found: Undrawn | Unread) -> dict[str, Any]:
    """The manifest's line of a row that was not drawn."""
    job = found.job if isinstance(found, Undrawn) else found
    return {**_head(job), "status": FAILED, "reason": found.reason, **_tail(job)}


def row_told(job: Job) -> dict[str, Any]:
    """A job's row, for its picture."""
    return {"number": job.row, "picture": job.picture, "id": job.id, **_tail(job)}


def _head(job: Job | Unread) -> dict[str, Any]:
    return {"row": job.row, "picture": job.picture, "id": job.id}


def _tail(job: Job | Unread) -> dict[str, Any]:
    """What the row said, values of other kinds as text."""
    asked: Mapping[str, Any] = {"prompt": job.prompt, "negative": job.negative} \
        if isinstance(job, Job) else {}
    found: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if job.columns:
        found["columns"] = {str(name): _plain(value) for name, value in job.columns.items()}
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    return str(value)


class Writers:
    """Threads that write; the first thing that goes wrong ends the drawing.

    Args:
        encode: writes a picture.
        finished: is given each line, one at a time, and the picture of a line that has one.
        threads: how many.
    """

    def __init__(self, encode: Encoder,
                 finished: Callable[[dict[str, Any], Image.Image | None], None],
                 threads: int) -> None:
        self._encode, self._finished = encode, finished
        self._pool = ThreadPoolExecutor(threads, "toprovar-batch")
        self._room = threading.BoundedSemaphore(threads * (1 + WAITING))
        self._one = threading.Lock()
        self._wrong: BaseException | None = None

    def check(self) -> None:
        """Raises what went wrong, if anything did."""
        if self._wrong is not None:
            raise self._wrong

    def put(self, drawn: Drawn) -> None:
        """Have a picture written; returns before it is, unless too many wait."""
        self._room.acquire()
        try:
            self.check()
            self._pool.submit(self._work, drawn)
        except BaseException:
            self._room.release()
            raise

    def tell(self, line: dict[str, Any]) -> None:
        """A line without a picture."""
        with self._one:
            self._finished(line, None)

    def close(self) -> None:
        """Wait for what is being written."""
        self._pool.shutdown(wait=True)

    def _work(self, drawn: Drawn) -> None:
        try:
            if self._wrong is None:
                line, image = self._encode(drawn)
                with self._one:
                    self._finished(line, image)
        except BaseException as error:
            self._wrong = self._wrong or error
        finally:
            self._room.release()

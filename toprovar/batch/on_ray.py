"""A batch on a Ray cluster: Ray Data with a pool of workers that each hold the model.

Scheduling, back-pressure, retries and the restarting of workers are Ray's.
"""

# pyright: reportMissingModuleSource=false

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .jobs import AUTO, Job, Settings, Unread
from .local import Batch, Summary, add_line, summary
from .source import ModelSource, Source
from .storage import NoRoomError, is_address
from .workers import STOPPED, JobWorker, RowWorker, job_to_json

if TYPE_CHECKING:
    from ray.data import Dataset

A_BLOCK = (4, 64)
"""Rows that a worker is given at a time, fewest and most."""
ERROR = re.compile(r"(\w+\.)*\w*Error: .")
"""The line of a traceback that says what went wrong."""
SHARES = 16
"""Blocks that each worker gets in all, as far as the bounds above allow."""


def check_ray() -> None:
    """ValueError where Ray is missing."""
    try:
        import ray.data  # noqa: F401
    except ImportError as error:
        raise ValueError(f"Ray is missing ({error}): pip install 'toprovar[ray]'") from None


def run(dataset: Dataset, *, out: str | None = None, source: Source | None = None,
        settings: Settings | None = None, workers: int | None = None,
        block: int | None = None, num_cpus: float | None = None, num_gpus: float | None = None,
        **remote: Any) -> Dataset:
    """Draw the rows of a Ray Dataset, as a lazy step of a pipeline of your own.

    Args:
        dataset: rows with a column "prompt", and optionally the other columns of
            :func:`toprovar.batch.read_rows`. With a column "row", numbers from 1, seeds and names
            of files are those of ``toprovar batch``. Without it every row has the seed of the
            settings, and its file is named by a hash of the row.
        out: a folder that all workers see, or an address that fsspec knows. None = the pictures
            come back as bytes in the column "picture".
        source: the model to draw with. None = the embedded model.
        settings: the settings of all rows. None = the defaults.
        workers: how many processes hold the model. None = one for each GPU of the cluster, at least
            1.
        block: how many rows a worker is given at a time. None = 4, or as many as are drawn at once.
        num_cpus, num_gpus: what Ray reserves for each worker. None = 1 CPU, and 1 GPU where the
            cluster has any and the source does not name the CPU.
        remote: more options of the workers, as ``Dataset.map_batches`` takes them.

    Returns:
        The dataset with the columns "picture_file", "picture_status" ("drawn" or "failed"),
        "picture_reason", "picture_id", "picture_seed" (as text), "picture_width" and
        "picture_height" (pixels) and "picture_seconds", and without ``out`` also "picture" (bytes).
        With ``settings.num`` above 1 a row comes back once for each of its pictures. A picture that
        cannot be drawn comes back as "failed".

    Raises:
        ValueError: Ray is not installed.
    """
    check_ray()
    settings = settings or Settings()
    return _mapped(dataset, RowWorker, source or ModelSource(), settings, out, workers,
                   block or _least_block(settings), num_cpus, num_gpus, remote)


def run_batch(batch: Batch, address: str | None = None, workers: int | None = None,
              progress: Callable[[int, int], None] = lambda done, total: None) -> Summary:
    """Draw what a batch's folder lacks, on a cluster.

    Args:
        address: of a cluster; None = one that is started here, and ended.
        workers: None = one for each GPU, at least 1.
        progress: called with (finished pictures, all).

    Raises:
        ValueError: the folder cannot be used, or a worker ended with an error that is not a row's;
            what is finished is kept.
    """
    check_ray()
    import ray.data
    from ray.exceptions import RayError

    from .folder import agree, held
    from .manifest import DRAWN
    from .writing import failed_line

    assert batch.folder is not None
    with held(batch.folder):
        agree(batch.folder, batch.told())
        manifest, todo = batch.opened()
        new = 0
        try:
            for job in todo:
                if isinstance(job, Unread):
                    add_line(manifest, failed_line(job))
            progress(len(manifest.lines), len(batch.jobs))
            jobs = [job for job in todo if isinstance(job, Job)]
            with _cluster(address) if jobs else _nothing():
                if not jobs:
                    return summary(manifest, batch.jobs, 0)
                workers = workers or _gpus()
                block = _block(len(jobs), workers, batch.settings)
                dataset = ray.data.from_items([{"job": job_to_json(job)} for job in jobs],
                                              override_num_blocks=-(-len(jobs) // block))
                place = str(batch.out) if is_address(str(batch.out)) \
                    else str(batch.folder.resolve())
                mapped = _mapped(dataset, JobWorker, batch.source, batch.settings, place, workers,
                                 block, None, None, {})
                for row in mapped.iter_rows():
                    line = json.loads(row["line"])
                    if STOPPED in line:
                        raise NoRoomError(line[STOPPED])
                    add_line(manifest, line)
                    new += line["status"] == DRAWN
                    progress(len(manifest.lines), len(batch.jobs))
        except RayError as error:
            raise ValueError(f"a worker ended: {_cause(error)}. Finished pictures are kept: run "
                             "the same command again to continue") from None
        finally:
            manifest.close()
        return summary(manifest, batch.jobs, new)


def _mapped(dataset: Dataset, worker: type, source: Source, settings: Settings, out: str | None,
            workers: int | None, block: int, num_cpus: float | None, num_gpus: float | None,
            remote: dict[str, Any]) -> Dataset:
    import ray.data

    gpus = _gpus(0)
    if num_gpus is None:
        num_gpus = 1 if gpus and _device(source) != "cpu" else 0
    return dataset.map_batches(
        worker, batch_size=block, batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=workers or max(1, gpus)),
        fn_constructor_args=(source, settings, out), num_cpus=1 if num_cpus is None else num_cpus,
        num_gpus=num_gpus or None, **remote)


@contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    """A cluster that is there, or one for the time of the context."""
    import ray

    if ray.is_initialized():
        yield
        return
    ray.init(address=address or "local", include_dashboard=None if address else False,
             log_to_driver=False, logging_level="warning")
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # errors are told by who catches them
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _gpus(least: int = 1) -> int:
    """GPUs of the cluster that this process is connected to."""
    import ray

    if not ray.is_initialized():
        return least
    return max(least, int(ray.cluster_resources().get("GPU", 0)))


def _device(source: Source) -> str:
    """What a source was told, "auto" where it does not say."""
    own = getattr(source, "arguments", source)
    return str(getattr(own, "device", "auto"))


def _least_block(settings: Settings) -> int:
    """A whole batch, where batches are drawn together."""
    return A_BLOCK[1] if settings.batch == AUTO else max(A_BLOCK[0], settings.batch)


def _block(jobs: int, workers: int, settings: Settings) -> int:
    """Rows of a block: few, so that little is drawn again where a worker dies, and none is idle at
    the end; not so few that scheduling them is work."""
    even = jobs // (workers * SHARES)
    return max(_least_block(settings), min(even, A_BLOCK[1]))


def _cause(error: BaseException) -> str:
    """What a worker said, without Ray's account of how it got here."""
    from ..printable import one_line

    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if ERROR.match(line)]
    return one_line((named or lines or [type(error).__name__])[-1])

"""The folder of a batch: who is at work in it, and what its pictures were asked for."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..files import replace_file
from ..printable import one_line
from ..reading import read_json, reading

MANIFEST, SETTINGS = "manifest.jsonl", "batch.json"
LOCK, HOLDER = ".batch.lock", ".batch.running.json"
MOST_BYTES = 16 << 20
HALF_WRITTEN = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
"""Names of files that are moved into place when they are whole."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """While one process works in a folder.

    The lock is the operating system's: it ends with its process, however that ends, so that none is
    ever left behind. On a file system without such locks (some network shares) it is a file whose
    process on this machine is looked for; one of another machine is believed.

    Raises:
        ValueError: another process holds it, which is named.
    """
    from filelock import FileLock, SoftFileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock: Any = FileLock(folder / LOCK, timeout=0)
    try:
        try:
            lock.acquire()
        except NotImplementedError:
            _drop_stale(folder)
            lock = SoftFileLock(folder / (LOCK + ".file"), timeout=0)
            lock.acquire()
    except Timeout:
        raise ValueError(f"{folder}: {_holder(folder)} is at work in this folder: wait until it "
                         "is done, end it, or give another folder") from None
    try:
        about = {"process": os.getpid(), "host": socket.gethostname(),
                 "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        replace_file(folder / HOLDER, json.dumps(about).encode())
        yield
    finally:
        (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def clear(folder: Path) -> None:
    """Take away what a killed process had half written. Only who holds the folder may do so."""
    for path in folder.glob(".*.tmp"):
        if HALF_WRITTEN.fullmatch(path.name):
            path.unlink(missing_ok=True)


def agree(folder: Path, settings: Mapping[str, Any]) -> None:
    """Write down what the pictures of a folder are asked for; in a folder that has it already,
    check that it is the same.

    Raises:
        ValueError: naming what differs.
    """
    path = folder / SETTINGS
    settings = json.loads(json.dumps(settings))
    if not path.exists():
        replace_file(path, (json.dumps(settings, indent=1) + "\n").encode())
        return
    with reading(path, "description of a batch", "give another folder"):
        found = read_json(path, MOST_BYTES)
        if not isinstance(found, dict):
            raise ValueError("expected a JSON object")
    names = [name for name in dict.fromkeys((*found, *settings))
             if name != "about" and found.get(name) != settings.get(name)]
    if names:
        told = ", ".join(f"{name.replace('_', ' ')} {_brief(found.get(name))} (now "
                         f"{_brief(settings.get(name))})" for name in names[:3])
        raise ValueError(f"{folder} holds pictures that were made with other options: {told}. Give "
                         "the same options, or another folder")


def _brief(value: Any) -> str:
    text = one_line(json.dumps(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _holder(folder: Path) -> str:
    """Who holds the lock, in words."""
    try:
        about = read_json(folder / HOLDER, MOST_BYTES)
        return one_line(f"process {about['process']} on {about['host']} (since {about['since']})")
    except (OSError, ValueError, TypeError, LookupError):
        return "another process"


def _drop_stale(folder: Path) -> None:
    """Remove a lock file whose process was on this machine and is gone."""
    try:
        about = read_json(folder / HOLDER, MOST_BYTES)
        if about["host"] != socket.gethostname():
            return
        os.kill(int(about["process"]), 0)
    except ProcessLookupError:
        (folder / (LOCK + ".file")).unlink(missing_ok=True)
    except (OSError, ValueError, TypeError, LookupError):
        return

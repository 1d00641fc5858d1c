"""Runs an example in a process of its own.

Half of an example's time on a CPU is the import of torch, diffusers and transformers. Processes
are therefore forked from one that has imported them and done nothing else. Where a system cannot
fork, each begins from nothing.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
IMPORTED = ["toprovar.pipeline", "toprovar.checkpoints.text_load", "toprovar.analysis"]


@dataclass(frozen=True)
class Finished:
    """Attributes:
        code: exit code; text: standard output; errors: standard error.
    """

    code: int | None
    text: str
    errors: str


def run_example(name: str, folder: Path, *arguments: str, seconds: float = 600) -> Finished:
    """Run ``examples/NAME.py ARGUMENTS`` in a folder.

    Args:
        seconds: after which it is stopped; the machine may be busy.
    """
    context: Any = multiprocessing.get_context(METHOD)
    if METHOD == "forkserver":
        context.set_forkserver_preload(IMPORTED)
    folder.mkdir(parents=True, exist_ok=True)
    process = context.Process(target=_run, args=(str(EXAMPLES / f"{name}.py"), str(folder),
                                                 [*arguments]))
    with _this_package():
        process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
    text, errors = ((folder / f"{which}.txt").read_text("utf-8") for which in ("stdout", "stderr"))
    return Finished(process.exitcode, text, errors)


@contextmanager
def _this_package() -> Iterator[None]:
    """Processes that begin meanwhile import the package that lies beside these tests."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *([before] if before else [])])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _run(script: str, folder: str, arguments: list[str]) -> None:
    """In the new process."""
    os.chdir(folder)
    for descriptor, name in ((1, "stdout.txt"), (2, "stderr.txt")):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(file, descriptor)
    os.environ["TOPROVAR_CACHE"] = str(Path(folder) / "cache")
    import torch

    torch.set_num_threads(min(2, torch.get_num_threads()))  # as tests/conftest.py
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).parent))
    runpy.run_path(script, run_name="__main__")

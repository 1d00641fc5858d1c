"""Many cases over several worker processes, which may die or hang, and what they came to."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from .cases import CRASH, HANG, OUTCOMES, SOUND, Result, given_of, kind_of

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 300.0


class Worker:
    """A process that runs cases; started again when a case has ended it.

    Args:
        seconds: that a case may take.
        module: the program.
    """

    def __init__(self, seed: int, seconds: float, module: str = "tests.fuzz.worker") -> None:
        self.seed, self.seconds, self.module = seed, seconds, module
        self._process: subprocess.Popen[str] | None = None

    def _start(self) -> None:
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8",  # noqa: SIM115 - till stop()
                                           errors="replace")
        self._process = subprocess.Popen(
            [sys.executable, "-m", self.module, str(self.seed)], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, args=(self._process.stdout, self._lines),
                         daemon=True).start()
        line = self._answer(START_SECONDS)
        if not line:
            told = self._told()
            self.stop()
            raise RuntimeError(f"a worker did not start: {told}")
        self._folder = json.loads(line)["ready"]

    @staticmethod
    def _read(stream: Any, lines: queue.Queue[str]) -> None:
        for line in stream:
            lines.put(line)
        lines.put("")  # the process has ended

    def _answer(self, seconds: float) -> str | None:
        """A line; "" = the process has ended, None = nothing in time."""
        try:
            return self._lines.get(timeout=seconds)
        except queue.Empty:
            return None

    def _told(self) -> str:
        self._log.seek(0)
        return self._log.read()[-2000:]

    def run(self, number: int) -> Result:
        if self._process is None:
            self._start()
        process = cast("subprocess.Popen[str]", self._process)
        assert process.stdin is not None
        process.stdin.write(f"{number}\n")
        process.stdin.flush()
        line = self._answer(self.seconds)
        if line:
            return Result(**json.loads(line))
        kind = kind_of(self.seed, number)[0]
        given = given_of(self.seed, number, Path(self._folder) / "originals")
        if line is None:
            self.stop()
            return Result(number, kind, HANG, f"more than {self.seconds:g} s", given,
                          seconds=self.seconds)
        status = process.wait()
        result = Result(number, kind, CRASH, f"exit status {status}", given, self._told())
        self.stop()
        return result

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, self._log):
            if stream is not None:
                with contextlib.suppress(OSError):  # a pipe whose reader has died
                    stream.close()
        if folder := getattr(self, "_folder", None):
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Report:
    """Outcomes of a campaign, in the order of the cases' numbers."""

    seed: int
    seconds: float
    results: tuple[Result, ...]

    @property
    def faults(self) -> tuple[Result, ...]:
        return tuple(r for r in self.results if r.outcome not in SOUND)

    def distinct(self) -> dict[tuple[str, str, str], list[Result]]:
        """Faults by kind of file, outcome and place, the most frequent first."""
        found: dict[tuple[str, str, str], list[Result]] = {}
        for r in self.faults:
            found.setdefault((r.kind, r.outcome, r.detail), []).append(r)
        return dict(sorted(found.items(), key=lambda item: -len(item[1])))

    def table(self) -> str:
        """Markdown: kinds down, outcomes across."""
        kinds = list(dict.fromkeys(sorted(r.kind for r in self.results)))
        counts = Counter((r.kind, r.outcome) for r in self.results)
        lines = ["| kind | cases | " + " | ".join(OUTCOMES) + " |",
                 "|---|---:|" + "---:|" * len(OUTCOMES)]
        for kind in kinds:
            own = [counts[kind, outcome] for outcome in OUTCOMES]
            lines.append(f"| {kind} | {sum(own)} | " + " | ".join(map(str, own)) + " |")
        every = [sum(counts[kind, outcome] for kind in kinds) for outcome in OUTCOMES]
        lines.append(f"| **all** | {sum(every)} | " + " | ".join(map(str, every)) + " |")
        return "\n".join(lines)

    def told(self, most: int = 200) -> str:
        """Every distinct fault with a case that shows it."""
        lines = []
        for (kind, outcome, detail), own in list(self.distinct().items())[:most]:
            first = own[0]
            lines.append(f"{len(own)} x {kind}: {outcome}, {detail}\n"
                         f"    python -m tests.fuzz --seed {self.seed} --case {first.number}\n"
                         f"    {first.given}\n    {' '.join(first.message.split())[:300]}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        return {
            "seed": self.seed, "cases": len(self.results), "seconds": round(self.seconds, 1),
            "outcomes": {o: sum(r.outcome == o for r in self.results) for o in OUTCOMES},
            "kinds": {kind: {o: sum(r.kind == kind and r.outcome == o for r in self.results)
                             for o in OUTCOMES} for kind in sorted({r.kind for r in self.results})},
            "faults": [{**own[0].to_json(), "times": len(own)} for own in self.distinct().values()],
        }


def run_campaign(
    seed: int, numbers: Iterable[int], workers: int = 2, seconds: float = 30.0,
    on_result: Callable[[Result], object] | None = None, module: str = "tests.fuzz.worker",
) -> Report:
    """Run the cases ``numbers`` of a seed.

    Args:
        workers: processes.
        seconds: that one case may take.
        on_result: called with each result as it comes, in any order.
    """
    todo, results, failed = iter(numbers), list[Result](), list[BaseException]()
    lock = threading.Lock()
    begin = time.perf_counter()

    def work() -> None:
        worker = Worker(seed, seconds, module)
        try:
            while not failed:
                with lock:
                    number = next(todo, None)
                if number is None:
                    return
                result = worker.run(number)
                with lock:
                    results.append(result)
                    if on_result is not None:
                        on_result(result)
        except BaseException as error:
            failed.append(error)
        finally:
            worker.stop()

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return Report(seed, time.perf_counter() - begin,
                  tuple(sorted(results, key=lambda r: r.number)))

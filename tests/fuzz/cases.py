"""A case: made from a seed and a number alone, run, and its outcome named."""

from __future__ import annotations

import linecache
import os
import re
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import toprovar

from .arguments import call, command, run_command
from .kinds import FILES, prepare
from .originals import SCHEDULE

PACKAGE = str(Path(toprovar.__file__).parent)
CLEAN, ACCEPTED, TRACEBACK, CRASH, HANG, MEMORY = OUTCOMES = (
    "clean error", "accepted", "traceback", "crash", "hang", "memory")
SOUND = (CLEAN, ACCEPTED)
NO_MEMORY = ("can't allocate memory", "not enough memory", "Cannot allocate memory",
             "std::bad_alloc")
COMMAND, CALL = "command line", "pipeline call"
ALL = [*FILES, COMMAND, CALL]
WEIGHTS = [*(kind.weight for kind in FILES.values()), 9.0, 9.0]


@dataclass(frozen=True)
class Result:
    """What a case came to.

    Attributes:
        detail: of what is neither accepted nor refused as it should be: the kind of error and
            where it was raised, the same for every case of one fault.
        given: what was tried, for the reader.
        message: of the error.
    """

    number: int
    kind: str
    outcome: str
    detail: str = ""
    given: str = ""
    message: str = ""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def kind_of(seed: int, number: int) -> tuple[str, Random]:
    """The kind of a case, and where all its draws come from."""
    rng = Random(f"{seed}/{number}")
    return rng.choices(ALL, WEIGHTS)[0], rng


def run_case(seed: int, number: int, originals: Path, place: Path, pipeline: Any) -> Result:
    """Run one case in the empty folder ``place``."""
    kind, rng = kind_of(seed, number)
    begin, given = time.perf_counter(), ""
    outcome, detail, message = ACCEPTED, "", ""
    try:
        if kind == COMMAND:
            argv = command(originals, rng)
            given = shown(argv)
            outcome, detail, message = _command(argv, originals, place)
        elif kind == CALL:
            keywords = call(rng)
            given = shown(keywords)
            pipeline(**keywords)
        else:
            path = prepare(FILES[kind], originals, place, rng)
            given = FILES[kind].path
            FILES[kind].read(path, pipeline)
    except Exception as error:
        name = Path(FILES[kind].top or given).name if kind in FILES else None
        outcome, detail, message = judged(error, name)
    return Result(number, kind, outcome, detail, given[:2000], message[:2000],
                  round(time.perf_counter() - begin, 3))


def given_of(seed: int, number: int, originals: Path) -> str:
    """What a case tries, without running it."""
    kind, rng = kind_of(seed, number)
    if kind == COMMAND:
        return shown(command(originals, rng))
    return shown(call(rng)) if kind == CALL else FILES[kind].path


def shown(value: dict[str, Any] | list[str]) -> str:
    """Arguments in one line, long ones cut."""
    texts = [f"{k}={_short(v)}" for k, v in value.items() if v is not SCHEDULE] \
        if isinstance(value, dict) else map(_short, value)
    return " ".join(texts)


def _short(value: object) -> str:
    text = re.sub(" at 0x[0-9a-f]+", "", " ".join(repr(value).split()))
    return text if len(text) < 160 else f"{text[:100]}...{text[-40:]}"


def judged(error: Exception, name: str | None) -> tuple[str, str, str]:
    """(outcome, detail, message) of an error.

    Clean is a ValueError (of the project's own kinds, too; or a TypeError about an argument)
    that the package raised on purpose, in one line, naming the file if there is one.
    """
    try:
        message = str(error)
    except Exception as inner:
        message = f"(its message cannot be made: {inner!r})"
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f.filename.startswith(PACKAGE)]
    where = f"{Path(own[-1].filename).relative_to(PACKAGE)}:{own[-1].name}" if own else "?"
    detail = f"{type(error).__name__} in {where}"
    if isinstance(error, MemoryError) or any(text in message for text in NO_MEMORY):
        return MEMORY, detail, message
    last = frames[-1]
    on_purpose = last.filename.startswith(PACKAGE) and linecache.getline(
        last.filename, last.lineno or 0).strip().startswith("raise")
    kinds = (ValueError,) if name else (ValueError, TypeError)
    if not on_purpose or not isinstance(error, kinds):
        if last.filename != (own[-1].filename if own else None):
            detail += f" (from {Path(last.filename).name}:{last.name})"
        return TRACEBACK, detail, message
    flaw = unclear(message, name)
    return (TRACEBACK, f"{detail}: {flaw}", message) if flaw else (CLEAN, "", message)


def unclear(message: str, name: str | None) -> str | None:
    """What a message lacks."""
    if not message or not message.isprintable():
        return "a message that is no printable line"
    if name and len(message) > 2000:
        return "a message of more than 2000 characters"
    if name and name not in message:
        return "a message that names no file"
    return None


def _command(argv: list[str], originals: Path, place: Path) -> tuple[str, str, str]:
    for name in ("plan.json", "plan.png"):
        (place / name).write_bytes((originals / name).read_bytes())
    before = os.getcwd()
    os.chdir(place)
    try:
        status, told = run_command(argv)
    finally:
        os.chdir(before)
    lines = [line for line in told.replace("\r", "\n").splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    if any(text in told for text in NO_MEMORY):
        return MEMORY, f"exit status {status}", last
    left = sorted(path.name for path in place.iterdir() if path.suffix == ".tmp")
    if left:
        return TRACEBACK, f"left files behind: {left}", last
    if status == 0:
        return ACCEPTED, "", ""
    flaw = None
    if status not in (1, 2):
        flaw = f"exit status {status}"
    elif argv[0] != "conformance" and not last.startswith("toprovar"):
        flaw = "last line is not the command's own"
    elif "Traceback" in told:
        flaw = "a traceback is shown"
    elif "[Errno" in last:
        flaw = "an error of the system as it is"
    flaw = flaw or unclear(last, None)
    return (TRACEBACK, f"command {argv[0]}: {flaw}", last) if flaw else (CLEAN, "", last)

"""The command line: ``toprovar`` and ``python -m toprovar``. Each command is a module with
``add_arguments(parser)`` and ``run(arguments) -> exit status``, imported when it is called for; a
strategy that can be fitted gives one more, ``fit-NAME``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Protocol, cast

from .. import __version__
from ..printable import one_line, printable
from .signals import Terminated, terminable

COMMANDS = {
    "generate": "make pictures from a prompt",
    "batch": "make pictures of many prompts, and go on where it stopped",
    "draft": "the first scales of many pictures, to choose from",
    "finish": "draw drafts to the end",
    "vary": "draw a picture's finer scales anew",
    "inpaint": "draw a part of a picture anew, or beyond its edges",
    "edit": "change a picture by words",
    "instruct": "edit a picture by an instruction, with a VAREdit model",
    "plan": "make, show, check and compare sparsity plans",
    "compare": "every strategy on one prompt: contact sheet and figures",
    "calibrate": "measure in minutes what a model's plans need to know",
    "analyze": "measure attention entropy on prompts",
    "convert": "official checkpoints to the diffusers layout, and back",
    "conformance": "compare the engine with recorded results of the official code",
    "bench": "a short benchmark of this machine, with a file that can be posted",
    "doctor": "what was found on this machine and what will be used",
}
MODULES = {"instruct": "edit_instruction"}
"""Of commands whose module has another name."""
FIT = "fit-"


class Command(Protocol):
    """What a command is made of: a module, as a rule."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, arguments: argparse.Namespace) -> int: ...


def commands() -> dict[str, str]:
    """What each command does, those that strategies give among them."""
    from ..sparsity.strategies.registry import fits

    found = {}
    for name, summary in COMMANDS.items():
        found[name] = summary
        if name == "analyze":  # fits measure a model, too
            found |= {f"{FIT}{strategy}": fit.summary for strategy, fit in fits().items()}
    return found


def command(name: str) -> Command:
    """One of ``commands``, imported."""
    if name in COMMANDS:
        return cast(Command, import_module(f".{MODULES.get(name, name)}", __name__))
    from .fit import FitCommand

    return FitCommand(name.removeprefix(FIT))


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0 = well, 1 = the command found something wrong, 2 = bad input."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(
        prog="toprovar", allow_abbrev=False,
        description="Infinity text-to-image: fast, exact, accelerated by ToProVAR.",
    )
    parser.add_argument("--version", action="version", version=f"toprovar {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in commands().items():
        own = subparsers.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        if name in argv[:1]:
            command(name).add_arguments(own)
    arguments = parser.parse_args(argv)
    handler = logging.StreamHandler()
    handler.setFormatter(_SafeFormatter("%(levelname)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    try:
        with terminable():
            return command(arguments.command).run(arguments)
    except (ValueError, OSError) as error:
        print(f"toprovar {arguments.command}: {one_line(_told(error))}", file=sys.stderr)
        return 2
    except (RuntimeError, MemoryError) as error:
        if not _memory_ran_out(error):
            raise
        print(f"toprovar {arguments.command}: {_memory_told(error)}", file=sys.stderr)
        return 2
    except Terminated as error:
        print(f"toprovar {arguments.command}: terminated", file=sys.stderr)
        return 128 + error.number
    except KeyboardInterrupt:
        print(f"toprovar {arguments.command}: interrupted", file=sys.stderr)
        return 130


def _told(error: Exception) -> str:
    """In words: of an error of the system its file and the reason, without the number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def _memory_ran_out(error: Exception) -> bool:
    """Whether there was too little memory, of the GPU or of the computer."""
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return True
    from ..pipeline_memory import out_of_memory

    return isinstance(error, RuntimeError) and out_of_memory(error)


def _memory_told(error: Exception) -> str:
    """In words: the engine's own advice where it gave one."""
    said = str(error)
    if "What helps:" in said:
        return one_line(said)
    first = one_line(said.strip().partition("\n")[0].partition(". ")[0]) or type(error).__name__
    return (f"memory ran out ({first}). What helps: a smaller --pixels, fewer pictures at once, or "
            "other programs closed; on a GPU also --memory 8-bit")


class _SafeFormatter(logging.Formatter):
    """Log records hold text out of files, too."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))

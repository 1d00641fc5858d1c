"""A result for a reader."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from ..printable import safe_lines
from ..sparsity.plan_table import table
from .result import BenchResult, Pictures, Runs
from .session import crowded, unsteady
from .spread import LEVEL, Interval, quartiles

PARTS: Sequence[tuple[str, Callable[[Pictures], Sequence[float]]]] = (
    ("text", lambda p: p.text), ("scale loop", lambda p: p.scales), ("decoder", lambda p: p.decode))


def in_words(result: BenchResult) -> str:
    """Machine, model, table, ratio and notes, safe to print."""
    kinds = (("dense", result.dense), ("accelerated", result.accelerated))
    head = ("", "first picture", "later pictures", "middle half", *(name for name, _ in PARTS))
    return safe_lines([
        f"machine   {machine_words(result)}",
        f"software  {software_words(result)}",
        f"model     {subject_words(result)}",
        "",
        *table(head, [_row(name, runs) for name, runs in kinds], left=(0,)),
        "",
        *ratio_words(result), "", *(f"note: {note}" for note in notes(result)),
    ])


def machine_words(result: BenchResult) -> str:
    own = result.machine
    memory = "" if own.memory_bytes is None else f", {own.memory_bytes / 2**30:.1f} GiB"
    if own.device == "cpu":
        return f"{own.name}, {own.cores} cores, {own.threads} threads{memory}, {own.system}"
    return (f"{own.name}{memory}; {own.processor}, {own.cores} cores, {own.system}")


def software_words(result: BenchResult) -> str:
    own = result.versions
    parts = [f"toprovar {own.toprovar}", f"torch {own.torch}",
             f"Triton {own.triton}" if own.triton else "no Triton", f"Python {own.python}"]
    if own.driver:
        parts.append(f"driver {own.driver}")
    return ", ".join(parts)


def subject_words(result: BenchResult) -> str:
    own = result.subject
    name = {"random": f"{own.name}, shape only: RANDOM weights", "own": f"{own.name}, own weights",
            "embedded": "the embedded model"}[own.weights]
    return (f"{name}; {own.depth} layers of width {own.width}, {own.parameters / 1e6:.0f} million "
            f"parameters, {own.image_width} x {own.image_height} pixels, {own.dtype}")


def ratio_words(result: BenchResult) -> list[str]:
    """How the kinds compare; that nothing can be said, where there were no rounds."""
    if result.ratio is None:
        return ["no picture after the first ones fitted into the time, so the two cannot be "
                "compared"]
    share = result.accelerated.flop_share
    work = "" if share is None else f", {100 * share:.0f} % of the FLOPs"
    lines = [f"accelerated (plan: {result.accelerated.plan}{work}) is "
             f"{_ratio(result.ratio)}, prompt to picture"]
    if result.loop_ratio is not None:
        lines.append(f"its scale loop alone is {_ratio(result.loop_ratio)}")
    return lines


def notes(result: BenchResult) -> list[str]:
    """What a reader must know beside the figures."""
    own, found = result.conditions, list[str]()
    if result.subject.weights == "random":
        found.append("random weights: times and memory are those of the shape, pictures mean "
                     "nothing")
    ended = "" if own.ended == "enough" else ", when the time was over"
    counted = len(result.dense.pictures)
    some = "" if counted == own.rounds else (
        f", of which the last {counted} are counted, as the automatic choice changed its plan")
    found.append(f"{own.rounds} rounds of a dense and an accelerated picture{ended}{some}; "
                 f"{own.seconds:.0f} s in all, of which {own.load_seconds:.0f} s for loading, of "
                 f"at most {own.limit_seconds:g} s")
    found.append("the first accelerated picture was drawn before the first dense one, which found "
                 "kernels and memory prepared")
    if result.ratio is not None and result.ratio.level < LEVEL:
        found.append(f"too few rounds for an interval of 95 %: the one given has "
                     f"{100 * result.ratio.level:.0f} %")
    if result.accelerated.plan == "dense" and own.rounds:
        found.append("the automatic choice ran dense: nothing that it knows is faster here")
    if own.busy:
        found.append("this machine seemed busy: " + "; ".join(_why_busy(result))
                     + ". Close other programs and measure again before you compare")
    if result.accelerated.memory:
        found.append(f"memory: {result.accelerated.memory}")
    return found


def _why_busy(result: BenchResult) -> list[str]:
    own = result.conditions
    why = []
    if unsteady(own.spread):
        assert own.spread is not None
        why.append(f"the middle half of the dense times spans {100 * own.spread:.0f} % of their "
                   "median")
    if crowded(own.other_cores, result.machine.cores):
        why.append(f"other programs used {own.other_cores:.1f} of {result.machine.cores} cores")
    return why


def _row(name: str, runs: Runs) -> tuple[str, ...]:
    first = seconds_words(runs.first.seconds)
    if not len(runs.pictures):
        return name, first, "-", "-", *("-" for _ in PARTS)
    every = runs.pictures.seconds
    low, high = quartiles(every)
    return (name, first, seconds_words(median(every)),
            f"{seconds_words(low)} to {seconds_words(high)}",
            *(seconds_words(median(of(runs.pictures))) for _, of in PARTS))


def seconds_words(seconds: float) -> str:
    """With three digits: ``146 ms``, ``1.34 s``."""
    if seconds < 1:
        return f"{seconds * 1e3:.3g} ms"
    return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:.0f} s"


def _ratio(found: Interval) -> str:
    return (f"{found.median:.2f} times as fast ({100 * min(LEVEL, found.level):.0f} % interval "
            f"{found.low:.2f} to {found.high:.2f})")

"""Calibration: what a model's plans need to know, measured on its own pictures.

It can end at any time, and what it has found by then is a calibration; with more time it gets
better. In this order:

1. Look: pictures are drawn dense, which gives the entropies, and by decoding the sums after each
   scale the picture that stopping there would give.
2. Ways: half the last scale's tokens are dropped in each way there is, and the last scales run
   unguided. That says which way suits the model, and how long guidance is needed.
3. Choices without shortcuts (``race``), where tokens exit.
4. Shortcuts are fitted (``shortcut_fit``), and 5. choices with them are found, the main part.
6. Starts: pruning from each scale on, for ``tau``, the crossing and the start scale.
7. Worth: whether choosing tokens by entropy does better than at random, at the counts of plans.

Without a limit every part is measured on all pictures. With one, each has a share of the time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ..entropy.statistics import RatioScale
from ..entropy.trace import versions
from ..models.fingerprint import model_fingerprint
from ..models.text import PackedText
from ..pipeline import InfinityPipeline
from ..sampling.branches import left_for
from ..schedules import ScaleSchedule, get_schedule
from ..sparsity.plan import Way
from ..sparsity.shortcuts import Shortcuts, register_shortcuts
from . import parts
from .choices import State
from .conclusions import conclude, unconditional_off, way_of
from .drawing import Drawing, Job, OutOfTimeError, Work, fitting_jobs
from .findings import Findings, ScheduleFindings, alike, jobs_hash
from .measure import FEWEST_TOKENS
from .progress import SHARES, WORDS, Progress, Result
from .race import Race
from .shortcut_fit import MOST_BYTES, fit_shortcuts
from .shortcut_use import file_limit, with_used

TARGET_SSIM = 0.95
"""Below, pictures of the embedded model are visibly soft."""
LOOKED_AT = 16
"""Pictures that entropies are taken from where time is short."""
STARTS = 8
"""Pictures on which start scales are tried where time is short."""
PLAIN_ROUND = 2
"""Pictures of the first choices, without shortcuts, where time is short."""


@dataclass
class Calibrator:
    """Calibrates a pipeline's transformer.

    Attributes:
        jobs: prompts and seeds, measured from the first one on; ``fit_jobs``: that shortcuts are
            fitted to, none = no shortcuts. They should have other seeds.
        schedules: one entry for each; default: square, at the pipeline's default budget.
        minutes: limit; None = until every part is done on all jobs, or more would change nothing.
        target_ssim: pictures at least this similar to the dense one count as unharmed.
        probe_keep: share of tokens, the least diffuse, that a pruned scale works on while ways and
            start scales are tried.
        ratio_scale, alpha_min, alpha_max: recorded for the planner.
        dropped: what dropped tokens get; None = by which way pictures stay most like dense ones.
        name: of the model, for the reader; provenance: added to what is recorded.
        begun: findings to go on from, with ``shortcuts``, all that were fitted then.
        most_bytes: of the shortcuts' file; None = ``shortcut_use.file_limit``.
        sum_bytes: of memory that fitting may take.
        check: called before every layer or scale; what it raises ends the calibration, and
            :meth:`result` has what was found until then.
        on_progress: told now and then; on_result: whenever the result has become better.
        guidance_scale, tau, options: as of the pipeline's call; tile: as its ``vae_tile``.
        encode: features of a prompt; None = by the pipeline's text encoder.
    """

    pipeline: InfinityPipeline
    jobs: Sequence[Job]
    fit_jobs: Sequence[Job] = ()
    schedules: Sequence[ScaleSchedule] = ()
    minutes: float | None = None
    target_ssim: float = TARGET_SSIM
    probe_keep: float = 0.5
    ratio_scale: RatioScale = "log"
    alpha_min: float = 0.0
    alpha_max: float = 0.9
    dropped: Way | None = None
    name: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    begun: Findings | None = None
    shortcuts: Shortcuts | None = None
    most_bytes: int | None = None
    sum_bytes: int = MOST_BYTES
    check: Callable[[], None] | None = None
    on_progress: Callable[[Progress], object] | None = None
    on_result: Callable[[Result], object] | None = None
    guidance_scale: Any = None
    tau: Any = None
    options: Any = None
    tile: int | None = None
    encode: Callable[[str], PackedText] | None = None

    def __post_init__(self) -> None:
        if not self.jobs:
            raise ValueError("give at least one prompt and one seed")
        if not 0 < self.probe_keep < 1:
            raise ValueError(f"probe_keep must be between 0 and 1, got {self.probe_keep}")
        if self.minutes is not None and not 0 < self.minutes < 1e6:
            raise ValueError(f"minutes must be above 0, got {self.minutes}")
        self.schedules = list(self.schedules) or [
            get_schedule("1.0", self.pipeline.config["default_pn"])]
        self.work = Work()
        self.shape = self.pipeline.transformer.shape
        self.drawings, self.fitting = (
            [Drawing(self.pipeline, s, jobs, self.guidance_scale, self.tau, self.options,
                     self.check, self.tile, self.encode, self.work) for s in self.schedules]
            for jobs in (self.jobs, self.fit_jobs))
        fresh = Findings.begin(model_fingerprint(self.pipeline.transformer),
                               jobs_hash(self.jobs, self.guidance_scale, self.tau),
                               self.schedules)
        self.findings = fresh if self.begun is None else self.begun.model_copy(deep=True)
        if not self.findings.fits(fresh):
            raise ValueError("these measurements are of another model, other pictures or other "
                             "sizes: begin anew")
        if self.shortcuts is None or self.findings.shortcuts != self.shortcuts.identity:
            self._forget_shortcuts()
        else:
            register_shortcuts(self.shortcuts)
        self._races = {d.schedule.pn: self._race(d) for d in self.drawings}
        self._before = self.findings.seconds, self.findings.pictures
        self._start = time.monotonic()
        self._part = "look"

    def run(self) -> Result:
        """Measure until the time is over, or all is done. Plans by the result find its shortcuts in
        this process, whether it is saved or not."""
        self._start = time.monotonic()
        self._in("look", self._look)
        self._in("ways", self._ways)
        self._tell_result()
        exits = self.way == "exit"
        if exits:
            self._in("choices", partial(self._rounds, self._plain_limit()))
            self._tell_result()
            if self.shortcuts is None and self.fit_jobs and self._left("shortcuts") > 0:
                self._in("shortcuts", self._fit)
            self._in("race", partial(self._rounds, len(self.jobs)))
            self._tell_result()
        self._in("starts", self._starts)
        self._in("worth", self._worth)
        if exits and self._left("worth") > 0:
            self._in("race", partial(self._rounds, len(self.jobs)), "worth")
        self._part = "done"
        self._tell_progress()
        found = self._tell_result()
        if found.shortcuts is not None:
            register_shortcuts(found.shortcuts)
        return found

    def result(self) -> Result:
        """What was found so far."""
        self.findings.seconds = self._before[0] + time.monotonic() - self._start
        self.findings.pictures = self._before[1] + self.work.pictures
        self._note_tried()
        found = conclude(
            self.findings, self.shape, way=self.dropped, target_ssim=self.target_ssim,
            name=self.name, alpha_min=self.alpha_min, alpha_max=self.alpha_max,
            prompts=len({p for p, _ in self.jobs}), seeds=len({s for _, s in self.jobs}),
            provenance={"versions": versions(), **self.provenance})
        used = None
        if found is not None:
            limit = file_limit(self.shape.width) if self.most_bytes is None else self.most_bytes
            found, used = with_used(self.shape, found, self.shortcuts, limit)
        return Result(found, used, self.findings.model_copy(deep=True), self.shortcuts,
                      replace(self.work))

    @property
    def way(self) -> Way:
        """What dropped tokens get, by what was measured so far."""
        return self.dropped or way_of(self.findings)

    # The parts

    def _look(self) -> None:
        most = len(self.jobs) if self.minutes is None else min(LOOKED_AT, len(self.jobs))
        for drawing, found in self._places():
            parts.look(drawing, found, most, self._more, self.ratio_scale)

    def _ways(self) -> None:
        for drawing, found in self._places():
            parts.try_ways(drawing, found, self.probe_keep, self._more)

    def _rounds(self, most: int) -> None:
        """Rounds of twice as many pictures each, up to ``most``."""
        for pictures in _doubling(most):
            for drawing, found in self._places():
                race = self._races[drawing.schedule.pn]
                if pictures <= found.raced or found.settled:
                    continue
                # Without a whole round there is nothing to plan by: the first one comes before
                # shortcuts, however slow the device is.
                drawing.deadline = self._deadline if found.complete else self._ends("race")
                race.round(pictures)
                found.complete = found.raced = pictures
                found.settled = race.settled(pictures)
            self._tell_result()

    def _fit(self) -> None:
        deadline = None if self.minutes is None else self._deadline
        found = fit_shortcuts(
            self.pipeline, self.fit_jobs, self.schedules, deadline=deadline,
            drawings=self.fitting, most_bytes=self.sum_bytes,
            on_picture=lambda _: self._tell_progress())
        if found is None:
            return
        register_shortcuts(found)
        self.shortcuts, self.findings.shortcuts = found, found.identity
        for drawing, entry in self._places():
            self._races[drawing.schedule.pn].use(found)
            entry.raced, entry.settled = 0, False

    def _starts(self) -> None:
        way = self.way
        for drawing, found in self._places():
            off = unconditional_off(found, self.target_ssim) if way == "exit" else 0
            most = found.looked_at if self.minutes is None else min(STARTS, found.looked_at)
            parts.try_starts(drawing, found, way, self.probe_keep, off, most, self._more)

    def _worth(self) -> None:
        for drawing, found in self._places():
            parts.try_rules(drawing, found, len(self.jobs), self._more, self.findings.shortcuts,
                            self._leaves(drawing.schedule))

    # Beside them

    def _places(self) -> Iterator[tuple[Drawing, ScheduleFindings]]:
        for drawing in self.drawings:
            yield drawing, self.findings.schedules[drawing.schedule.pn]

    def _more(self, number: int) -> bool:
        """Whether this part goes on with the picture of this number."""
        self._tell_progress()
        return time.monotonic() < self._deadline

    def _race(self, drawing: Drawing) -> Race:
        """Of a schedule, with what is known already; what it draws goes into the findings."""
        found = self.findings.schedules[drawing.schedule.pn]
        tried = {State(t.guided, t.skipped, t.shortcuts): alike(t) for t in found.tried}

        def compare(plans: Sequence[Any], number: int) -> list[tuple[float, float]]:
            values = drawing.compared(plans, number, self._leaves(drawing.schedule))
            self._tell_progress()
            return values

        return Race(self.shape, drawing.schedule, compare, FEWEST_TOKENS, self.shortcuts, tried)

    def _leaves(self, schedule: ScaleSchedule) -> frozenset[tuple[int, int]]:
        return left_for(self.shortcuts, len(schedule))

    def _plain_limit(self) -> int:
        """Pictures of the choices without shortcuts."""
        if self.shortcuts is not None:
            return 0
        return min(PLAIN_ROUND, len(self.jobs)) if self.minutes and self.fit_jobs \
            else len(self.jobs)

    def _forget_shortcuts(self) -> None:
        """Choices of shortcuts that are not at hand."""
        self.shortcuts = self.findings.shortcuts = None
        for found in self.findings.schedules.values():
            found.tried = [t for t in found.tried if not t.shortcuts]
            if found.spared and (found.spared[0][2] or found.spared[1][2]):
                found.spared, found.rules = None, {}

    def _note_tried(self) -> None:
        for drawing, found in self._places():
            parts.note_tried(drawing, found, self._races[drawing.schedule.pn],
                             self._leaves(drawing.schedule))

    def _in(self, part: str, work: Callable[[], None], until: str = "") -> None:
        """Run a part until its time is over."""
        self._part, self._deadline = part, self._ends(until or part)
        self._tell_progress()
        try:
            work()
        except OutOfTimeError:
            pass
        finally:
            for drawing in self.drawings:
                drawing.deadline = math.inf

    def _ends(self, part: str) -> float:
        return math.inf if self.minutes is None else \
            self._start + SHARES[part] * self.minutes * 60

    def _left(self, part: str) -> float:
        return self._ends(part) - time.monotonic()

    def _tell_progress(self) -> None:
        if self.on_progress is None:
            return
        seconds, done = time.monotonic() - self._start, self._part == "done"
        share = 1.0 if done else list(SHARES).index(self._part) / len(SHARES)
        left = None
        if self.minutes is not None and not done:
            left = max(self.minutes * 60 - seconds, 0.0)
            share = min(seconds / (self.minutes * 60), 0.999)
        self.on_progress(Progress(self._part, "done" if done else WORDS[self._part], share,
                                  seconds, 0.0 if done else left,
                                  self._before[1] + self.work.pictures))

    def _tell_result(self) -> Result:
        found = self.result()
        if self.on_result is not None:
            self.on_result(found)
        return found


def calibrate(pipeline: InfinityPipeline, prompts: Sequence[str], seeds: Sequence[int] = (0,),
              *, shortcut_pictures: int = 0, **how: Any) -> Result:
    """Calibrate a model: measure on its own pictures what plans may leave out.
    docs/guide/calibrating.md explains the parts.

    Args:
        pipeline: the model that is calibrated.
        prompts: what to draw.
        seeds: every prompt is drawn with each of them.
        shortcut_pictures: how many pictures the shortcuts through the first layers are fitted to:
            the same prompts with later seeds. 0 = no shortcuts.
        how: more arguments of ``toprovar.analysis.Calibrator``, such as ``minutes``, ``schedules``,
            ``target_ssim`` and ``on_progress``.

    Returns:
        The calibration, its shortcuts and the measurements. ``toprovar.analysis.calibration_files``
        has functions that save them.

    Raises:
        ValueError: there is no prompt or no seed, or an argument is out of range.
    """
    if not prompts or not seeds:
        raise ValueError("give at least one prompt and one seed")
    jobs = [(p, s) for s in seeds for p in prompts]
    return Calibrator(pipeline, jobs, fitting_jobs(prompts, seeds, shortcut_pictures), **how).run()


def _doubling(most: int) -> list[int]:
    """1, 2, 4 ... and ``most``."""
    powers = (2**k for k in range(most.bit_length()))
    return [n for n in powers if n < most] + ([most] if most else [])

"""Our engine as a contender: the public pipeline, prompt to PIL picture."""

from __future__ import annotations

import torch

from benchmarks.gpu.models import Subject
from benchmarks.gpu.timing import Clock
from toprovar.graphs import why_no_graphs
from toprovar.models.text import PackedText
from toprovar.sampling.params import EngineOptions
from toprovar.sampling.run import SamplingRun
from toprovar.sparsity.planner import Planner
from toprovar.sparsity.selection import Selector

Plan = Planner | None
SEED = 2


def engines(device: torch.device) -> dict[str, EngineOptions]:
    """Ways to run the scale loop here that compute alike, by name, the fastest last."""
    found = {"eager": EngineOptions(graphs=False)}
    if why_no_graphs(device) is None:
        found["graphs"] = EngineOptions(graphs=True)
    return found


def best(device: torch.device) -> tuple[str, EngineOptions]:
    """The fastest of ``engines``."""
    return list(engines(device).items())[-1]


class Engine:
    """The pipeline under a plan.

    Args:
        draws: where random numbers are drawn: "device" as the official code, or "cpu", which gives
            the same picture on every device.

    Attributes:
        replayed: scales of the last picture that came from recorded graphs.
    """

    def __init__(self, name: str, subject: Subject, plan: Plan = None,
                 options: EngineOptions | None = None, images: int = 1, draws: str = "device"
                 ) -> None:
        self.name, self.subject, self.plan, self.images = name, subject, plan, images
        self.options = options or best(subject.device)[1]
        self.draws = torch.device("cpu") if draws == "cpu" else subject.device
        self.notes: tuple[str, ...] = ()
        self.replayed = 0

    def picture(self, clock: Clock) -> None:
        own, params = self.subject, self.subject.params
        text = own.pipeline.encode_prompt(own.prompts(self.images))
        clock.mark("text")
        result = own.pipeline(
            prompt_features=text, schedule=params.schedule, guidance_scale=params.cfg,
            tau=params.tau, plan=self.plan, options=self.options,
            generator=torch.Generator(self.draws).manual_seed(SEED),
            on_scale=lambda state: clock.mark(f"scale {state.index}"),
        )
        clock.mark("decode")
        self.notes, self.replayed = result.report.notes, result.report.replayed_scales


class Loop:
    """The scale loop alone, on text that is encoded beforehand."""

    def __init__(self, name: str, subject: Subject, plan: Plan = None,
                 options: EngineOptions | None = None, selector: Selector | None = None) -> None:
        self.name, self.subject, self.plan, self.selector = name, subject, plan, selector
        self.notes: tuple[str, ...] = ()
        self.options = options or best(subject.device)[1]
        self.text: PackedText = subject.pipeline.encode_prompt(subject.prompts())

    def picture(self, clock: Clock) -> None:
        run = self.run()
        for state in run:
            clock.mark(f"scale {state.index}")
        self.notes = run.report().notes

    def run(self) -> SamplingRun:
        """A run that has not begun."""
        own = self.subject
        return SamplingRun(
            own.pipeline.transformer, self.text, own.params, plan=self.plan, options=self.options,
            generators=torch.Generator(own.device).manual_seed(SEED), selector=self.selector,
        )


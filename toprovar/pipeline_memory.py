"""A pipeline call and the memory of its device: planned before, and again where it ran out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch

from .devices import least_saving
from .graphs import why_no_graphs
from .memory.needs import Request
from .memory.placement import Stage
from .memory.residency import Placed, Residency
from .sampling.params import EngineOptions
from .sparsity.plan import SparsityPlan
from .sparsity.planner import Planner, RunContext

if TYPE_CHECKING:
    from .models.transformer import InfinityTransformer
    from .schedules import ScaleSchedule

MOST_RETRIES = 8
Result = TypeVar("Result")


NO_MEMORY = ("unable to find an engine", "ALLOC_FAILED", "out of memory")
"""What libraries say whose workspace did not fit: cuDNN then finds no way to compute."""


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that the device's memory ran out."""
    return isinstance(error, torch.OutOfMemoryError) or any(
        words in str(error) for words in NO_MEMORY)


class Pipeline(Protocol):
    """What is asked of a pipeline here."""

    transformer: InfinityTransformer

    @property
    def _execution_device(self) -> torch.device: ...


class CallMemory:
    """How one call is computed, as far as memory decides it.

    Args:
        residency: of the pipeline; None = nobody plans, and everything is as the caller says.
        request: what is asked for.

    Attributes:
        placed: what was planned; None = nothing.
    """

    def __init__(self, residency: Residency | None, request: Request) -> None:
        self.residency, self.request = residency, request
        self.placed: Placed | None = None if residency is None else residency.prepare(request)
        self.retried = 0

    @property
    def options(self) -> EngineOptions:
        return self.request.options if self.placed is None else self.placed.options

    @property
    def tile(self) -> int | None:
        return self.request.tile if self.placed is None else self.placed.tile

    @property
    def graph(self) -> bool | None:
        """Whether text encoder and decoder may be recorded; see ``InfinityAutoencoder.decode``."""
        recorded = self.placed is None or self.placed.record_decoder
        return None if self.request.options.graphs is not False and recorded else False

    @property
    def most_images(self) -> int | None:
        """Images of one run."""
        return None if self.placed is None else self.placed.images

    def again(self, stage: Stage, attempt: Callable[[], Result], images: int | None = None
              ) -> Result:
        """The result of ``attempt``, tried again with less memory where it runs out.

        Args:
            images: of the run that is tried: they cannot be drawn apart any more.

        Raises:
            torch.OutOfMemoryError: nothing is left that would take less.
        """
        while True:
            try:
                return attempt()
            except RuntimeError as error:
                if self.residency is None or not out_of_memory(error):
                    raise
                failed = str(error)
            # Only here are the tensors of the attempt gone.
            self.retried += 1
            request = self.request if images is None \
                else replace(self.request, images=images, divisible=False)
            before = self.residency.plan
            self.residency.ran_out(stage, failed)
            self.placed = self.residency.prepare(request)
            now = self.residency.plan
            same = before is not None and now is not None and before.placement == now.placement
            if self.retried > MOST_RETRIES or (same and self.retried > 1):
                raise torch.OutOfMemoryError(self.residency.advice(now, request))

    @contextmanager
    def decoding(self) -> Iterator[bool]:
        """While a picture is decoded; tells whether that is in memory which is given back."""
        if self.residency is None:
            yield False
            return
        with self.residency.lending() as lent:
            yield lent

    def notes(self) -> tuple[str, ...]:
        """What is worth knowing, in words."""
        if self.placed is None:
            return ()
        plan = self.placed.plan
        found = []
        if self.retried:
            found.append("memory ran out during this call, which went on with less")
        if plan.placement.narrow_cache or plan.placement.narrow_weights or plan.placement.tile:
            found.append("to fit the memory the picture is a little off: " + str(plan))
        return tuple(found)

    def told(self) -> str:
        """The plan in one line; empty where nobody planned."""
        return "" if self.placed is None else str(self.placed.plan)


def request_of(pipeline: Pipeline, plan: Planner | None, options: EngineOptions | None,
               schedule: ScaleSchedule, images: int, guided: bool = True, **about: bool | int | None
               ) -> Request:
    """A call's request.

    Args:
        plan: of the call; one that is the same for all prompts is asked what it will be.
        about: further fields of ``Request``.
    """
    options, device = options or EngineOptions(), pipeline._execution_device
    made = plan if isinstance(plan, SparsityPlan) else None
    if plan is not None and made is None and not plan.adaptive:
        made = plan.start(RunContext(pipeline.transformer.shape, schedule, images, guided,
                                     least_saving=least_saving(device))).plan
    return Request(
        schedule, images, guided, made, plan is not None and plan.adaptive, options,
        recorded=options.graphs is not False and options.fused is not False
        and why_no_graphs(device) is None, **about,  # type: ignore[arg-type]  # by its fields
    )

"""Entropies of prompts, measured in dense runs: what the analyzer hands on."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .host import stop_if_interrupted
from .infinity import Infinity, Prompts
from .watching import Watcher

if TYPE_CHECKING:
    from ...toprovar.entropy.calibration import Calibration
    from ...toprovar.entropy.summary import Summary
    from ...toprovar.entropy.trace import EntropyTrace
    from ...toprovar.schedules import ScaleSchedule

MOST_VALUES = 400_000
"""Map values that are sent to the browser, a byte each."""


@dataclass(frozen=True)
class Traced:
    """What was measured: the socket INFINITY_TRACE.

    Attributes:
        schedule: of the runs.
        latents: [B, d, h, w] summed codes of the dense pictures.
    """

    trace: EntropyTrace
    summary: Summary
    schedule: ScaleSchedule
    latents: Tensor

    def __repr__(self) -> str:
        return f"<entropy trace of {', '.join(self.trace.about.prompts)[:200]}>"

    def calibration(self, model: Infinity, schedule: ScaleSchedule) -> Calibration:
        """Layer scores of these prompts, for a plan made before the run.

        Raises:
            ValueError: the plan is for another model or size than the trace.
        """
        from ...toprovar.analysis.trace_calibration import trace_calibration
        from ...toprovar.models.fingerprint import model_fingerprint

        fingerprint = model_fingerprint(model.pipeline.transformer)
        if self.trace.about.model != fingerprint:
            raise ValueError(f"the trace was measured with another model "
                             f"({self.trace.about.model}, this is {fingerprint}): connect the "
                             "analyzer and the planner to the same Load Infinity")
        if schedule != self.schedule:
            raise ValueError("the trace was measured at another size than is planned for: connect "
                             "the same Infinity Size to the analyzer and the planner")
        return trace_calibration(self.trace, self.summary)

    def to_json(self) -> dict[str, Any]:
        """For the node's widget: figures, and the first picture's maps, a byte for each token
        between the map's "low" and "high" (nats)."""
        about = self.trace.about
        maps: list[dict[str, Any]] = []
        sent = 0
        for (scale, layer), found in self.trace.maps.items():
            one = found[0]
            sent += one.numel()
            if sent > MOST_VALUES:
                break
            maps.append({"scale": scale, "layer": layer, **_packed(one)})
        return {
            "prompts": list(about.prompts), "grids": [list(g) for g in about.grids],
            "depth": about.depth, "summary": self.summary.to_json(), "maps": maps,
        }


def measure(model: Infinity, prompts: Prompts, schedule: ScaleSchedule, seed: int, cfg: float,
            tau: float) -> Traced:
    """Draw each prompt dense, from seed + i, and take the entropies.

    Args:
        cfg, tau: 0 = the model's own.
    """
    from ...toprovar.arguments import SEEDS
    from ...toprovar.entropy.calibration import find_calibration
    from ...toprovar.entropy.summary import summarise
    from ...toprovar.entropy.trace import EntropyTrace, TraceRecorder
    from ...toprovar.models.fingerprint import model_fingerprint
    from ...toprovar.models.text import PackedText

    pipeline = model.pipeline
    seeds = [(seed + number) % SEEDS for number in range(len(prompts.texts))]
    model.place(schedule, 1, model.guided(cfg))
    fingerprint, depth = model_fingerprint(pipeline.transformer), pipeline.transformer.shape.depth
    watcher = Watcher(model, len(schedule) * len(prompts.texts), preview=False)
    traces, latents = [], []
    rows = zip(prompts.texts, prompts.features.rows(), prompts.features.lengths, strict=True)
    for number, (text, features, length) in enumerate(rows):
        recorder = TraceRecorder()
        done = pipeline(
            prompt_features=PackedText(features, (length,)), seed=seeds[number],
            guidance_scale=cfg or None, tau=tau or None, schedule=schedule, output_type="latent",
            options=model.options, watch=recorder, check=stop_if_interrupted,
            on_scale=watcher.on_scale,
        )
        latents.append(done.images)
        traces.append(recorder.trace(schedule, depth, prompts=[text], seeds=[seeds[number]],
                                     model=fingerprint, params=done.report.params))
    trace = EntropyTrace.join(traces)
    known = find_calibration(fingerprint, pn=schedule.pn)
    return Traced(trace, summarise(trace, known.entry(schedule)[0] if known else None), schedule,
                  torch.cat(latents))


def _packed(values: Tensor) -> dict[str, Any]:
    low, high = float(values.min()), float(values.max())
    level = ((values - low) / max(high - low, 1e-9) * 255).round().to(torch.uint8)
    return {"low": low, "high": high,
            "values": base64.b64encode(level.numpy().tobytes()).decode("ascii")}

"""diffusers' ``callback_on_step_end``: what it is handed after each scale, and what it changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .models.text import PackedText, pad_rows
from .sampling.run import SamplingRun, ScaleState

TENSORS = ("latents", "prompt_embeds", "negative_prompt_embeds")
Callback = Callable[[Any, int, int, dict[str, Any]], "dict[str, Any] | None"]


@dataclass(frozen=True)
class StepCallback:
    """A callback, and the names of the tensors it wants.

    ``latents`` are the summed codes so far, [B, d, h, w] at the size of the last scale: what the
    next scale is computed from, and what is decoded after the last one. They may be changed, in
    place or by returning others. The embeddings, [B, L, C] with zeros behind shorter prompts, are
    for reading: the text has its part in the run before the first scale.

    Raises:
        ValueError: a name is unknown.
    """

    call: Callback
    names: Sequence[str] = ("latents",)

    def __post_init__(self) -> None:
        unknown = [name for name in self.names if name not in TENSORS]
        if unknown:
            raise ValueError(f"callback_on_step_end_tensor_inputs: {unknown[0]!r} is not one of "
                             f"{', '.join(TENSORS)}")

    def __call__(self, pipeline: Any, run: SamplingRun, state: ScaleState, text: PackedText,
                 negative: PackedText | None) -> None:
        """Call it after a scale, and let the run continue from the latents it leaves."""
        given = {name: _tensor(name, state, text, negative) for name in self.names}
        answer = self.call(pipeline, state.index, state.index, dict(given))
        if answer is None:
            answer = {}
        if not isinstance(answer, dict):
            raise ValueError("callback_on_step_end must return a dictionary or None, got "
                             f"{type(answer).__name__}")
        for name, value in answer.items():
            if name != "latents" and value is not given.get(name):
                raise ValueError(f"callback_on_step_end returned {name!r}: of what it returns only "
                                 "'latents' can be used here (the summed codes so far)")
        latents = answer.get("latents", given.get("latents"))
        if latents is not None:
            run.continue_from(latents)


def _tensor(name: str, state: ScaleState, text: PackedText, negative: PackedText | None
            ) -> Tensor | None:
    """One that the callback may keep, and change in place."""
    if name == "latents":
        return state.summed_codes.clone()
    features = text if name == "prompt_embeds" else negative
    return None if features is None else pad_rows(features.rows())[0]

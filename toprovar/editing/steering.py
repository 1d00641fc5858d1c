"""Guidance away from a description: which rows a run has for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..arguments import number
from ..models.text import PackedText
from ..sampling.params import SamplingParams
from .taken import Taken


@dataclass(frozen=True)
class Steering:
    """How far guidance leads away from what a picture shows, in differences between the logits of
    the prompt and of the source prompt."""

    away: float

    def rows(self, params: SamplingParams, negative: PackedText | None, described: PackedText,
             count: int) -> tuple[SamplingParams, PackedText | None, PackedText | None]:
        """Parameters, negative text and text to steer away from, of a run of ``count`` pictures.

        Without guidance, prompt + away (prompt - source) is what guidance of 1 + away against the
        source comes to: two rows are enough then.

        Args:
            described: features of one source prompt, or of one for each prompt.

        Raises:
            ValueError: there are neither one nor as many source prompts as prompts.
        """
        if count % len(described):
            raise ValueError(f"{len(described)} source prompts for {count} pictures: give one, or "
                             "one for each prompt")
        described = described.repeat_each(count // len(described))
        if not params.guided:
            return replace(params, cfg=1 + self.away), described, None
        return replace(params, away=self.away), negative, described


def steering(source_prompt: str | Sequence[str] | None, away: float, taken: Taken | None
             ) -> Steering | None:
    """What a call asks for; None = nothing.

    Raises:
        ValueError: one of the two alone, or no picture.
    """
    away = number("away", away)
    if source_prompt is None:
        if away:
            raise ValueError("away leads away from a description: give source_prompt as well")
        return None
    if away < 0:
        raise ValueError(f"away must be 0 or more, got {away:g}")
    if taken is None:
        raise ValueError("source_prompt says what a picture shows: give image as well")
    return Steering(away) if away else None

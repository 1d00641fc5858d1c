"""What a pipeline call was told, so that its pictures can say how they were made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .arguments import seed_list
from .editing.taken import Asked
from .picture_parameters import PYTHON, as_json, parameters_of
from .sampling.report import RunReport


@dataclass(frozen=True)
class Told:
    """The arguments of a call that its reports do not have.

    Attributes:
        prompts, negatives: texts, in order; each stands for as many images. Empty = not known,
            because features were given, or there are none.
        seeds: of each image; None = not known.
        weights: whether weights in prompts were read.
        tile: latent pixels of a tile of the decoder; None = at once.
        planned: whether a plan was given.
        more: further parameters, such as what was edited.
    """

    prompts: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ()
    seeds: tuple[int | None, ...] = ()
    weights: bool = False
    tile: int | None = None
    planned: bool = False
    more: dict[str, Any] | None = None

    def parameters(self, index: int, report: RunReport) -> dict[str, Any]:
        """The parameters of an image, as a file holds them.

        Args:
            index: of the image in the call, from 0; report: of its run.
        """
        told = as_json(report, report.plan if self.planned else None)
        told |= {"prompt_weights": self.weights,
                 "negative_prompt": _of(self.negatives, index, len(self.seeds))}
        if self.prompts:
            told["prompt"] = _of(self.prompts, index, len(self.seeds))
        if self.tile is not None:
            told["vae_tile"] = self.tile
        seed = self.seeds[index]
        own = {} if seed is None else {"seed": seed}
        return {**parameters_of(told), **own, **(self.more or {})}


def _of(texts: Sequence[str], index: int, count: int) -> str | None:
    return texts[index * len(texts) // count] if texts else None


def texts_of(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """One text or several, as several."""
    if given is None:
        return ()
    return (given,) if isinstance(given, str) else tuple(given)


def known_seeds(generator: Any, seed: Any, count: int) -> tuple[int | None, ...]:
    """The seed that each image can be drawn again from alone. None where there is none, as for
    several images of one generator, or for a generator that was in use before."""
    if seed is not None:
        return tuple(seed_list(seed, count))
    generators = list(generator) if isinstance(generator, (list, tuple)) else [generator]
    if len(generators) != count or None in generators:
        return (None,) * count
    return tuple(map(_fresh, generators))


def _fresh(generator: torch.Generator) -> int | None:
    """The seed of a generator on the CPU that has drawn nothing yet."""
    if generator.device.type != "cpu":
        return None
    seed = generator.initial_seed()
    same = torch.equal(generator.get_state(), torch.Generator().manual_seed(seed).get_state())
    return seed if same else None


def edited_as(asked: Asked, crop: bool, instructed: bool, edit: bool,
              source_prompt: str | Sequence[str] | None, away: float) -> dict[str, Any] | None:
    """What is told of an edit, from whose file alone it cannot be drawn again.

    Args:
        instructed: whether a VAREdit model follows an instruction; edit: whether bits were given.
    """
    if instructed:
        return {"source_picture": {"crop": crop}}
    if asked.image is None and not edit:
        return None
    found = {"strength": asked.strength, "blend": asked.blend,
             "padding_mask_crop": asked.padding_mask_crop}
    if source_prompt is not None:
        found |= {"source_prompt": list(texts_of(source_prompt)), "away": float(away)}
    return {"edit": {"command": PYTHON} | {n: v for n, v in found.items() if v is not None}}

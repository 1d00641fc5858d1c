"""Drafts: the socket INFINITY_DRAFT, how they are drawn and finished, and what is shown of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from .host import between, to_pil
from .runs import Drawing, Report, run_plan
from .sizes import SAME

if TYPE_CHECKING:
    from PIL import Image

    from ...toprovar.editing.draft import Draft
    from ...toprovar.schedules import ScaleSchedule
    from .infinity import Infinity, PlanChoice, Prompts
    from .sampling import Settings


@dataclass(frozen=True)
class Drafts:
    """The first scales of pictures: the socket INFINITY_DRAFT.

    Attributes:
        draft: the engine's value, which is all that files hold.
        pictures: IMAGE [B, H, W, 3], what they look like so far.
        words: their prompts as they were encoded; none where they come from a file.
    """

    draft: Draft
    pictures: Tensor
    words: tuple[Prompts, ...] = ()

    def __len__(self) -> int:
        return len(self.draft)

    def __repr__(self) -> str:  # for Preview Any, and error reports
        from ...toprovar.printable import safe_lines

        prompts = dict.fromkeys(self.draft.prompts)
        return safe_lines([self.about, *(f"prompt: {text}" for text in prompts if text),
                           "seeds: " + ", ".join(map(str, self.draft.seeds))])

    @property
    def about(self) -> str:
        """What they are, in one line."""
        from ...toprovar.sparsity.plan_table import percent

        draft, schedule = self.draft, self.draft.schedule
        height, width = schedule.image_size
        share = sum(schedule.tokens[: draft.done]) / sum(schedule.tokens)
        kind = "picture" if draft.finished else "draft"
        return (f"{len(draft)} {kind}{'s' if len(draft) > 1 else ''} of {width} x {height} pixels, "
                f"{draft.done} of {len(schedule)} scales ({percent(share)} of the tokens)")

    @property
    def captions(self) -> list[str]:
        """A line for each on a sheet."""
        return [f"{n + 1}: seed {seed}" for n, seed in enumerate(self.draft.seeds)]

    @property
    def sheet(self) -> Image.Image:
        """All of them on one picture, with their numbers."""
        from ...toprovar.evaluation.grid import picture_grid

        return picture_grid([to_pil(one) for one in self.pictures], self.captions)


def seen(model: Infinity, draft: Draft, words: tuple[Prompts, ...] = ()) -> Drafts:
    """Drafts with their pictures.

    Raises:
        ValueError: they are another model's.
    """
    draft.check_model(model.pipeline.transformer)
    codes = draft.codes(model.pipeline.transformer)
    return Drafts(draft, model.vae.decode(between(codes)), words)


def draw_drafts(model: Infinity, positive: Prompts, negative: Prompts | None,
                plan: PlanChoice | None, schedule: ScaleSchedule, settings: Settings,
                until: int | Literal["auto"]) -> Drafts:
    """The first scales of pictures of each prompt.

    Args:
        until: see ``Editing.draft``.
    """
    from ...toprovar.editing.draft import last_scale

    if negative is not None and negative.weights != positive.weights:
        raise ValueError("conditioning and negative are encoded in different ways: set "
                         "prompt_weights to the same value in both Infinity Text Encode nodes")
    guided = model.guided(settings.cfg)
    texts = tuple(t for t in positive.texts for _ in range(settings.images))
    drawing = Drawing(model, schedule, texts, guided, run_plan(model, plan, schedule, guided),
                      settings.preview, last=last_scale(schedule, until))
    with model.pipeline.knowing(positive, negative), drawing.begun() as (how, _):
        draft = model.pipeline.draft(
            list(positive.texts), None if negative is None else list(negative.texts),
            until=until, prompt_weights=positive.weights, **settings.call, **how)
    return seen(model, draft, (positive, *(() if negative is None else (negative,))))


def finish_drafts(model: Infinity, drafts: Drafts, which: Sequence[int],
                  plan: PlanChoice | None, pixels: str, preview: bool) -> tuple[Report, Tensor]:
    """Draw the scales that drafts lack.

    Args:
        which: of them, counted from 0.
        plan: None = the drafts' own; at another size, the automatic choice.
        pixels: budget of a larger size, or ``SAME``.
    """
    draft = drafts.draft
    draft.check_model(model.pipeline.transformer)
    own = draft.schedule
    schedule = draft.finished_size(None if pixels == SAME else pixels)
    draft = draft.pick(which)
    guided = draft.params.guided
    chosen = draft.plan if plan is None and schedule == own \
        else run_plan(model, plan, schedule, guided)
    if chosen is None and draft.planner is not None:
        raise ValueError(f"the drafts were drawn with {draft.planner}, which plans inside the run: "
                         "connect the same plan, or another one")
    drawing = Drawing(model, schedule, draft.prompts, guided, chosen, preview, edited=True)
    with model.pipeline.knowing(*(drafts.words or _encoded(model, draft))):
        return drawing(partial(model.pipeline.finish, draft))


def _encoded(model: Infinity, draft: Draft) -> tuple[Prompts, ...]:
    """The prompts of drafts out of a file, each once."""
    texts = dict.fromkeys((*draft.prompts, *(draft.negatives or ())))
    return (model.encoder.encode(list(texts), draft.prompt_weights),)


def encoded_picture(model: Infinity, image: Tensor, words: Prompts | None,
                    schedule: ScaleSchedule, fit: Any) -> Drafts:
    """A picture's bits of all scales, as if it had been drawn.

    Args:
        image: [B, 3, h, w] in [0, 1].
        words: what it shows; None = nothing is said.
        fit: see ``resize_pictures``.
    """
    from ...toprovar.editing.draft import Draft
    from ...toprovar.editing.source import encode_pictures, resize_pictures
    from ...toprovar.models.fingerprint import model_fingerprint
    from ...toprovar.sampling.params import SamplingParams

    transformer, count = model.pipeline.transformer, len(image)
    texts = ("",) if words is None else words.texts
    if len(texts) not in (1, count):
        raise ValueError(f"conditioning holds {len(texts)} prompts for {count} pictures: give one, "
                         "or one for each")
    model.vae.wake(*schedule.image_size)
    stack = encode_pictures(model.vae.part.net, resize_pictures(image, schedule.image_size, fit),
                            schedule, transformer.shape.patch)
    defaults = model.pipeline.config
    draft = Draft(
        stack.to(image.device), schedule, texts * (1 if len(texts) > 1 else count), None,
        tuple(range(count)),
        SamplingParams(schedule, defaults["default_cfg"], defaults["default_tau"]),
        words is not None and words.weights, model=model_fingerprint(transformer))
    return seen(model, draft, () if words is None else (words,))

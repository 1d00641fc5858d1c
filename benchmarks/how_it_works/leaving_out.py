"""What plans leave out, and what that does to the picture."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from toprovar.analysis.calibration_picture import calibration_figure
from toprovar.analysis.choices import choice_plan
from toprovar.entropy.calibration import Calibration, find_calibration
from toprovar.figures.sheet import BLUE, PALE, SOFT, Sheet
from toprovar.models.fingerprint import model_fingerprint
from toprovar.planning import make_plan
from toprovar.sparsity.plan import ModelTag, SparsityPlan, dense_scales, schedule_name
from toprovar.sparsity.plan_picture import plan_picture
from toprovar.sparsity.scale_plan import Way

from .drawing import Drawn, Studio, crop, head

FACE = (0.04, 0.26, 0.56, 0.78)
"""Part of the picture that is shown enlarged."""
BUDGET = 0.3
KEPT = 0.3


def kept_plan(studio: Studio, share: float, way: Way, first: int) -> SparsityPlan:
    """A share of the tokens in every layer, of lowest entropy, from a scale on."""
    scales = []
    for s, step in enumerate(dense_scales(studio.schedule, studio.depth)):
        if s >= first:
            step = step.model_copy(update={"keep": (round(share * step.tokens),) * studio.depth,
                                           "dropped": way})
        scales.append(step)
    shape = studio.pipe.transformer.shape
    return SparsityPlan(strategy="by hand", model=ModelTag.of(shape),
                        schedule=schedule_name(studio.schedule), scales=tuple(scales))


def calibration_of(studio: Studio) -> Calibration:
    """The embedded model's own."""
    found = find_calibration(model_fingerprint(studio.pipe.transformer), pn=studio.schedule.pn)
    if found is None:
        raise SystemExit("the embedded model has no calibration: make one with 'toprovar "
                         "calibrate', then draw its pictures")
    return found


def _choice(studio: Studio, guided: int | None = None, skipped: tuple[int, ...] = (),
            shortcuts: tuple[tuple[int, int], ...] = ()) -> SparsityPlan:
    count = len(studio.schedule)
    return choice_plan(studio.pipe.transformer.shape, studio.schedule,
                       count if guided is None else guided, skipped, shortcuts,
                       identity=calibration_of(studio).shortcuts)


def dropped(studio: Studio) -> Image.Image:
    """The same tokens dropped, and three things that they may get instead."""
    last = len(studio.schedule) - 1
    plans = [kept_plan(studio, KEPT, way, last) for way in ("identity", "cached", "exit")]
    drawn = [studio.dense, *(studio.draw(plan) for plan in plans)]
    return _row(studio, drawn,
                "What dropped tokens get decides how the picture looks",
                f"{100 * KEPT:.0f} % of the last scale's tokens are worked on. The other "
                f"{100 * (1 - KEPT):.0f} % ...",
                ["dense: none are dropped", "skip the layers: identity",
                 "get an earlier update: cached", "leave the scale: exit"], FACE)


def shortcuts(studio: Studio, length: int = 8) -> Image.Image:
    """The last scale in full, behind a shortcut, and not run."""
    last, depth = len(studio.schedule) - 1, studio.depth
    plans = [_choice(studio, shortcuts=((last, n),)) for n in (6, length)]
    drawn = [studio.dense, *(studio.draw(p) for p in (*plans, _choice(studio, skipped=(last,))))]
    return _row(studio, drawn, "A shortcut predicts the first layers of a scale",
                f"The last scale with all of its {depth} layers, with a part of them, and without "
                "any. Blue: layers that are run.",
                ["all layers run", "6 layers predicted", f"{length} layers predicted",
                 "the scale is not run"], FACE, layers=[0, 6, length, depth])


def guidance(studio: Studio) -> Image.Image:
    """Guidance that ends earlier and earlier."""
    count = len(studio.schedule)
    ends = (count, 7, 5, 3, 0)
    drawn = [studio.dense, *(studio.draw(_choice(studio, guided=n)) for n in ends[1:])]
    grids = studio.schedule.grids
    names = ["in all scales", *(f"up to {grids[n - 1][0]} x {grids[n - 1][1]}" for n in ends[1:-1]),
             "in no scale"]
    return _row(studio, drawn, "Guidance can end early",
                "Guidance runs every scale twice, with the prompt and without. The last scales "
                "hardly need it.", names, None)


def plan(studio: Studio) -> Image.Image:
    """The grid of a plan for a budget."""
    made = make_plan(studio.pipe, "toprovar", studio.schedule, budget=BUDGET)
    assert isinstance(made, SparsityPlan)
    return plan_picture(made, f"ToProVAR for the embedded model at 512 x 512 with a budget of "
                              f"{100 * BUDGET:.0f} % of the work, from its calibration")


def calibration(studio: Studio) -> Image.Image:
    """What the embedded model's calibration has measured."""
    return calibration_figure(calibration_of(studio), studio.pipe.transformer.shape,
                              studio.schedule.pn)


def _row(studio: Studio, drawn: Sequence[Drawn], title: str, words: str, names: Sequence[str],
         part: tuple[float, float, float, float] | None,
         layers: Sequence[int] | None = None) -> Image.Image:
    """Pictures side by side, each with its work and its likeness to the first.

    Args:
        part: what is shown of them; None = all.
        layers: of each picture, how many of the last scale's layers are not run; drawn as cells.
    """
    gap, left, top = 12.0, 20.0, 84.0
    side = (760.0 - 2 * left - (len(drawn) - 1) * gap) / len(drawn)
    below = 18.0 if layers else 0.0
    sheet = Sheet(760, top + side + 44 + below, 1.5)
    head(sheet, title, words)
    for n, (one, name) in enumerate(zip(drawn, names, strict=True)):
        x = left + n * (side + gap)
        sheet.text(x, top - 8, name, anchor="ls", bold=True, size=10.5)
        shown = one.image if part is None else crop(one.image, part)
        sheet.picture(shown, x, top, side, side, smooth=True)
        if layers:
            cell = side / studio.depth
            for layer in range(studio.depth):
                sheet.box(x + layer * cell, top + side + 7, cell - 1.5, 9,
                          fill=BLUE if layer >= layers[n] else PALE)
        told = studio.told(one) if n else "100 % of the work"
        sheet.text(x, top + side + 8 + below, told, size=9.5, colour=SOFT)
    return sheet.finish()

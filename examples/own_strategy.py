"""Add a strategy of your own.

Defines a strategy in a few lines: guidance ends a number of scales before the last. Guidance
takes every scale twice, so ending it early saves work. Draws one picture for several such numbers.
Writes them on one sheet. Prints the work of each and how alike it is to the first (SSIM).

Put the class into a module that an entry point ``toprovar.strategies`` names, and the command line
and the nodes know it, too (CONTRIBUTING.md says how).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from toprovar import SparsityPlan, dense_plan, load_pipeline, make_plan, picture_grid, ssim
from toprovar.sparsity.strategies.base import Option, PlanContext, Settings, Strategy


class EarlySettings(Settings):
    scales: Annotated[int, Option("scales at the end without guidance")] = Field(default=2, ge=0)


class Early(Strategy[EarlySettings]):
    name: ClassVar[str] = "early"
    summary: ClassVar[str] = "guidance ends before the last scales"
    settings: ClassVar[type[Settings]] = EarlySettings
    targets: ClassVar[bool] = False  # it takes no budget

    def plan(self, settings: EarlySettings, context: PlanContext) -> SparsityPlan:
        full = dense_plan(context.shape, context.schedule, self.name)
        first = len(full.scales) - settings.scales
        scales = tuple(step.model_copy(update={"unconditional": s < first})
                       for s, step in enumerate(full.scales))
        return context.finished(full.model_copy(update={"scales": scales}))


def main(out: Path, model: str | None, size: int | None) -> None:
    pipe = load_pipeline(model)
    schedule = pipe.resolve_schedule(size, size)
    pictures, captions = [], []
    for scales in (0, 1, 2, 4):
        plan = make_plan(pipe, Early(), schedule, scales=scales)
        result = pipe("a penguin and a star", seed=8, schedule=schedule, plan=plan)
        pictures += result.images
        used = result.report.used_plan
        assert used is not None and used.predicted is not None
        captions.append(f"last {scales} unguided: work {used.predicted.flop_share:.0%}")
        print(f"{captions[-1]}, SSIM {float(ssim(pictures[-1], pictures[0])):.3f}")
    out.mkdir(parents=True, exist_ok=True)
    picture_grid(pictures, captions).save(out / "sheet.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("out/own_strategy"),
                        help="folder to write to (default: %(default)s)")
    parser.add_argument("--model", metavar="DIR", help="folder of a converted model (default: the "
                        "one that comes with ToProVAR)")
    parser.add_argument("--size", metavar="PIXELS", type=int,
                        help="side of the pictures (default: the model's own)")
    main(**vars(parser.parse_args()))

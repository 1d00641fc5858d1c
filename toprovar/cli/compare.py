"""``toprovar compare``: every strategy on one prompt and one seed."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import whole
from ..picture_files import save_picture
from ..printable import printable, safe_lines
from ..sparsity.strategies.registry import names, with_targets
from .early import check_folder, check_model, check_sampling, check_target
from .model_options import (
    add_device,
    add_model,
    add_size,
    engine_options,
    find_size,
    load_pipeline,
    names_size,
    size_told,
)
from .outputs import FIGURES, PICTURE, Output, add_overwrite, check_outputs
from .plan_options import (
    add_plan_options,
    build_plan,
    check_options,
    device_costs,
    is_guided,
    saved_plan,
)
from .strategy_options import given_told

if TYPE_CHECKING:
    import torch

    from ..evaluation.compare import Compared, Taken
    from ..pipeline import InfinityPipeline
    from ..sampling.run import ScaleState
    from ..schedules import ScaleSchedule
    from ..sparsity.cost import CostModel
    from ..sparsity.plan import SparsityPlan
    from ..sparsity.planner import Planner


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("prompt", help="what to draw")
    add("--strategies", metavar="LIST", default=",".join(names()),
        help="strategies and plan files, with commas between them (default: "
             f"{','.join(names())}); dense is always run, and first")
    add_model(parser)
    add_size(parser)
    add("--seed", type=int, default=0)
    add("--cfg", type=float, help="guidance strength; 1 = off")
    add("--tau", type=float, help="temperature")
    add("--out", metavar="FILE.png", default="compare.png", help="the contact sheet")
    add("--json", metavar="FILE.json", help="the figures (default: beside the sheet)")
    add("--pictures", metavar="DIR", help="folder for the single pictures")
    add("--side", type=int, default=384, metavar="N",
        help="longer side of a picture on the sheet (default 384)")
    add("--no-warm-up", action="store_true",
        help="run every strategy once instead of twice: times then include what is set up once")
    add_overwrite(parser)
    add_device(parser)
    add_plan_options(parser)


def run(arguments: argparse.Namespace) -> int:
    asked = list(dict.fromkeys(["dense", *filter(None, arguments.strategies.split(","))]))
    out = Path(arguments.out)
    figures = Path(arguments.json) if arguments.json else out.with_suffix(".json")
    check_target("--out", out, ".png")
    check_target("--json", figures)
    check_folder("--pictures", arguments.pictures)
    whole("--side", arguments.side, 64, 4096)
    check_sampling(arguments)
    if names_size(arguments):
        find_size(arguments, "1M")
    check_outputs(arguments, [
        Output("--out", out, PICTURE), Output("--json", figures, FIGURES),
        *(Output("--pictures", Path(arguments.pictures) / f"{_shown(name)}.png", PICTURE)
          for name in asked if arguments.pictures),
    ])
    check_model(arguments)
    check_options(arguments, asked)
    saved = {name: saved_plan(name) for name in asked}
    pipeline = load_pipeline(arguments)
    pipeline.set_progress_bar_config(disable=True)  # one bar, that of the strategies
    schedule = find_size(arguments, pipeline.config["default_pn"])
    for plan in filter(None, saved.values()):
        plan.check_fits(pipeline.transformer.shape, schedule)
    costs = device_costs(pipeline, schedule, engine_options(arguments))
    guided = is_guided(arguments, pipeline)
    plans: dict[str, SparsityPlan | Planner] = {
        name: saved[name] or build_plan(arguments, pipeline, schedule, name, costs, guided)
        for name in asked}
    compared = _run_all(arguments, pipeline, schedule, plans, costs)
    notes = (*size_told(arguments, schedule), *_work_told(arguments, compared))
    _write(arguments, pipeline, schedule, compared, costs, out, figures, notes)
    return 0


def _run_all(
    arguments: argparse.Namespace, pipeline: InfinityPipeline, schedule: ScaleSchedule,
    plans: dict[str, SparsityPlan | Planner], costs: CostModel,
) -> list[Compared]:
    from tqdm import tqdm

    from ..evaluation.compare import compare

    taken: list[Taken] = []
    rounds = 1 if arguments.no_warm_up else 2
    with tqdm(total=rounds * len(plans), desc="runs") as bar:
        for timed in range(rounds):
            taken = []  # of the last round: what is set up once is set up by then
            for name, plan in plans.items():
                what = printable(Path(name).stem)
                bar.set_postfix_str(f"{what}, warming up" if rounds > 1 and not timed else what)
                taken.append(_take(arguments, pipeline, schedule, name, plan, costs))
                bar.update()
    return compare(taken)


def _take(arguments: argparse.Namespace, pipeline: InfinityPipeline, schedule: ScaleSchedule,
          name: str, plan: SparsityPlan | Planner, costs: CostModel) -> Taken:
    """One run."""
    from ..evaluation.compare import Taken
    from ..sparsity.cost import predict

    clock = _Clock(pipeline.transformer.null_text.device)
    result = pipeline(
        arguments.prompt, guidance_scale=arguments.cfg, tau=arguments.tau, seed=arguments.seed,
        schedule=schedule, plan=plan, options=engine_options(arguments), check=clock.check,
        on_scale=clock.on_scale,
    )
    used = result.report.used_plan
    assert used is not None and clock.latent is not None
    cost = predict(used, pipeline.transformer.shape, costs, is_guided(arguments, pipeline)
                   ).predicted
    assert cost is not None
    return Taken(
        _shown(name), result.images[0], clock.bits,
        clock.latent, clock.seconds, cost.seconds, cost.flop_share, result.report.notes,
    )


def _shown(name: str) -> str:
    """A strategy, or a plan file, as it is called on the sheet."""
    return name if name in names() else Path(name).stem


class _Clock:
    """Times the scale loop and keeps its bits. On a GPU it waits for each scale: alike for all
    strategies."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.started: float | None = None
        self.seconds = 0.0
        self.bits: dict[int, Any] = {}
        self.latent: Any = None

    def check(self) -> None:
        if self.started is None:
            self.started = time.perf_counter()

    def on_scale(self, state: ScaleState) -> None:
        import torch

        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        assert self.started is not None  # check is called before every layer
        self.seconds = time.perf_counter() - self.started
        self.bits[state.index], self.latent = state.bits, state.summed_codes


def _write(arguments: argparse.Namespace, pipeline: InfinityPipeline, schedule: ScaleSchedule,
           compared: list[Compared], costs: CostModel, out: Path, figures: Path,
           notes: tuple[str, ...]) -> None:
    from .. import __version__
    from ..evaluation.compare import contact_sheet
    from ..files import replace_file

    height, width = schedule.image_size
    dtype = str(pipeline.transformer.compute_dtype).removeprefix("torch.")
    how = "one run each" + ("" if arguments.no_warm_up else " after a warm-up")
    about = {
        "prompt": arguments.prompt, "seed": arguments.seed, "size": [width, height],
        "schedule": schedule.to_json(), "speedup": arguments.speedup, "budget": arguments.budget,
        "settings": {name: own for name in names() if (own := given_told(arguments, name))},
        "device": costs.device, "dtype": dtype, "toprovar": __version__,
        "how": f"{how}: times are single samples, of the scale loop",
        "notes": list(notes), "strategies": [one.to_json() for one in compared],
    }
    sheet = contact_sheet(
        compared, arguments.prompt,
        f"{width} x {height} pixels, seed {arguments.seed}; {costs.device}, {dtype}; {how}, time "
        "of the scale loop", arguments.side,
    )
    save_picture(sheet, out, about)
    replace_file(figures, (json.dumps(about, indent=1) + "\n").encode())
    written = [str(out.absolute()), str(figures.absolute())]
    if arguments.pictures:
        folder = Path(arguments.pictures)
        folder.mkdir(parents=True, exist_ok=True)
        for one in compared:
            save_picture(one.taken.image, folder / f"{one.taken.name}.png",
                     {k: v for k, v in about.items() if k != "strategies"} | one.to_json())
        written.append(str(folder.absolute()))
    _show(compared, about["how"], notes)
    print(printable(f"\nwrote {', '.join(written)}"))


def _work_told(arguments: argparse.Namespace, compared: list[Compared]) -> tuple[str, ...]:
    """How much of a dense run each strategy took, where all were to come down to one target."""
    from ..sparsity.solve import CLOSE

    budget: float | None = arguments.budget
    by_time = budget is None
    asked = budget if budget is not None else 1 / (arguments.speedup or 1.0)
    if budget is None and arguments.speedup is None:
        return ()
    told = []
    for one in compared:
        if one.taken.name not in with_targets():
            continue
        used = 1 / one.predicted if by_time and one.predicted else one.taken.flop_share
        missed = abs(used - asked) > CLOSE
        more = f" ({abs(100 * (used - asked)):.0f} points {'less' if used < asked else 'more'})"
        told.append(f"{one.taken.name} {used:.1%}{more if missed else ''}")
    of = "a dense run's predicted time" if by_time else "a dense run's FLOPs"
    return (f"asked for {asked:.1%} of {of}, used: {', '.join(told)}",)


def _show(compared: list[Compared], how: str, notes: tuple[str, ...]) -> None:
    from ..sparsity.plan_table import percent, table

    rows = [(
        one.taken.name, f"{one.taken.seconds:.3f} s", f"{one.speedup:.2f} x",
        "-" if one.predicted is None else f"{one.predicted:.2f} x", percent(one.taken.flop_share),
        f"{one.ssim:.3f}", f"{one.psnr:.1f}", f"{one.latent_distance:.3f}",
        f"{one.equal_bits:.1%}", str(one.bit_scales),
    ) for one in compared]
    head = ("", "time", "speed-up", "predicted", "FLOPs", "SSIM", "PSNR", "latent distance",
            "equal bits", "of scales")
    every = [f"note ({one.taken.name}): {note}" for one in compared for note in one.taken.notes]
    print(safe_lines([*table(head, rows, left=(0,)), how, *notes, *every]))

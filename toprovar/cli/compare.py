"""``toprovar compare``: every strategy on one prompt, with one seed or several."""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import whole
from ..picture_files import save_picture
from ..printable import printable, safe_lines
from ..sparsity.strategies.registry import names
from .comparable import comparable, target_of, work_told
from .early import check_folder, check_model, check_sampling, check_target
from .model_options import (
    add_device,
    add_model,
    add_size,
    add_weights,
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
    from ..sparsity.planner import Planner


MOST_SEEDS = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("prompt", help="what to draw")
    add("--strategies", metavar="LIST",
        help="strategies and plan files, with commas between them (default: "
             f"{','.join(names())}, those that come near a budget or speed-up); dense is always "
             "run, and first")
    add_model(parser)
    add_size(parser)
    add_weights(parser)
    add("--seed", type=int, default=0, help="of the pictures (default: 0)")
    add("--seeds", metavar="LIST", help="instead: several, such as 1,2,3 or 4-7; figures are means "
        "over them, the sheet has the pictures of the first")
    add("--cfg", type=float, help="guidance strength; 1 = off (default: the model's)")
    add("--tau", type=float, help="temperature (default: the model's)")
    add("--out", metavar="FILE.png", default="compare.png",
        help="the contact sheet (default: compare.png)")
    add("--json", metavar="FILE.json", help="the figures (default: beside the sheet)")
    add("--pictures", metavar="DIR", help="folder for the single pictures (default: none)")
    add("--side", type=int, default=384, metavar="N",
        help="longer side of a picture on the sheet (default: 384)")
    add("--no-warm-up", action="store_true",
        help="run every strategy once instead of twice: times then include what is set up once")
    add_overwrite(parser)
    add_device(parser)
    add_plan_options(parser)


def run(arguments: argparse.Namespace) -> int:
    named = names() if arguments.strategies is None else arguments.strategies.split(",")
    asked = list(dict.fromkeys(["dense", *filter(None, named)]))
    out = Path(arguments.out)
    figures = Path(arguments.json) if arguments.json else out.with_suffix(".json")
    check_target("--out", out, ".png")
    check_target("--json", figures)
    check_folder("--pictures", arguments.pictures)
    whole("--side", arguments.side, 64, 4096)
    check_sampling(arguments)
    seeds = _seeds(arguments)
    if names_size(arguments):
        find_size(arguments, "1M")
    check_outputs(arguments, [
        Output("--out", out, PICTURE), Output("--json", figures, FIGURES),
        *(Output("--pictures", Path(arguments.pictures) / _file(_shown(name), seed, seeds), PICTURE)
          for name in asked for seed in seeds if arguments.pictures),
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
    plans: dict[str, Planner] = {
        name: saved[name] or build_plan(arguments, pipeline, schedule, name, costs, guided)
        for name in asked}
    target, by_time = target_of(arguments)
    far: tuple[str, ...] = ()
    if target is not None and arguments.strategies is None:
        plans, far = comparable(plans, target, by_time)
    compared = _run_all(arguments, pipeline, schedule, plans, costs, seeds)
    notes = (*size_told(arguments, schedule), *work_told(arguments, compared), *far)
    _write(arguments, pipeline, schedule, compared, costs, out, figures, notes, seeds)
    return 0


def _seeds(arguments: argparse.Namespace) -> list[int]:
    """The seeds that were asked for; a ValueError says what a list looks like."""
    if arguments.seeds is None:
        return [arguments.seed]
    if arguments.seed:
        raise ValueError("give either --seed or --seeds, not both")
    found: list[int] = []
    for part in arguments.seeds.split(","):
        match = re.fullmatch(r"\s*(\d{1,20})\s*(?:-\s*(\d{1,20}))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < min(first + MOST_SEEDS, 1 << 64):
            raise ValueError(f"--seeds must look like 1,2,3 or 4-7, got {arguments.seeds!r}")
        found += range(first, last + 1)
    if len(set(found)) != len(found) or len(found) > MOST_SEEDS:
        raise ValueError(f"--seeds: each seed once, {MOST_SEEDS} at most, got {arguments.seeds!r}")
    return found


def _file(name: str, seed: int, seeds: list[int]) -> str:
    return f"{name}.png" if len(seeds) == 1 else f"{name}-seed{seed}.png"


def _run_all(
    arguments: argparse.Namespace, pipeline: InfinityPipeline, schedule: ScaleSchedule,
    plans: dict[str, Planner], costs: CostModel, seeds: list[int],
) -> list[Compared]:
    from tqdm import tqdm

    from ..evaluation.compare import averaged, compare

    warm_up = [] if arguments.no_warm_up else seeds[:1]  # what is set up once is set up by it
    rounds: list[list[Compared]] = []
    with tqdm(total=(len(warm_up) + len(seeds)) * len(plans), desc="runs") as bar:
        for turn, seed in enumerate([*warm_up, *seeds]):
            warms = turn < len(warm_up)
            taken = []
            for name, plan in plans.items():
                what = printable(Path(name).stem)
                bar.set_postfix_str(f"{what}, warming up" if warms else what)
                taken.append(_take(arguments, pipeline, schedule, name, plan, costs, seed))
                bar.update()
            if not warms:
                rounds.append(compare(taken))
    return [averaged(each) for each in zip(*rounds, strict=True)]


def _take(arguments: argparse.Namespace, pipeline: InfinityPipeline, schedule: ScaleSchedule,
          name: str, plan: Planner, costs: CostModel, seed: int) -> Taken:
    """One run."""
    from ..evaluation.compare import Taken
    from ..sparsity.cost import predict

    clock = _Clock(pipeline.transformer.null_text.device)
    result = pipeline(
        arguments.prompt, guidance_scale=arguments.cfg, tau=arguments.tau, seed=seed,
        schedule=schedule, plan=plan, options=engine_options(arguments), check=clock.check,
        on_scale=clock.on_scale, prompt_weights=arguments.word_weights is not False,
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
           notes: tuple[str, ...], seeds: list[int]) -> None:
    from .. import __version__
    from ..evaluation.compare import contact_sheet
    from ..files import replace_file

    height, width = schedule.image_size
    dtype = str(pipeline.transformer.compute_dtype).removeprefix("torch.")
    how = "one run each" + ("" if arguments.no_warm_up else " after a warm-up")
    several = len(seeds) > 1
    drawn = f"means over {len(seeds)} seeds, pictures of seed {seeds[0]}" if several else \
        f"seed {seeds[0]}"
    about = {
        "prompt": arguments.prompt, "prompt_weights": arguments.word_weights is not False,
        "seed": seeds[0],
        **({"seeds": seeds} if several else {}), "size": [width, height],
        "schedule": schedule.to_json(), "speedup": arguments.speedup, "budget": arguments.budget,
        "settings": {name: own for name in names() if (own := given_told(arguments, name))},
        "device": costs.device, "dtype": dtype, "toprovar": __version__,
        "how": f"{how}: times are {'means of ' if several else ''}single samples, of the scale "
               "loop",
        "notes": list(notes), "strategies": [one.to_json() for one in compared],
    }
    sheet = contact_sheet(
        compared, arguments.prompt,
        f"{width} x {height} pixels, {drawn}; {costs.device}, {dtype}; {how}, time "
        "of the scale loop", arguments.side,
    )
    save_picture(sheet, out, about)
    replace_file(figures, (json.dumps(about, indent=1) + "\n").encode())
    written = [str(out.absolute()), str(figures.absolute())]
    if arguments.pictures:
        folder = Path(arguments.pictures)
        folder.mkdir(parents=True, exist_ok=True)
        for mean in compared:
            for seed, one in zip(seeds, mean.each or (mean,), strict=True):
                save_picture(one.taken.image, folder / _file(one.taken.name, seed, seeds),
                             {k: v for k, v in about.items() if k not in ("strategies", "seeds")}
                             | {"seed": seed} | one.to_json())
        written.append(str(folder.absolute()))
    _show(compared, about["how"], notes)
    print(printable(f"\nwrote {', '.join(written)}"))


def _spread(one: Compared, name: str, digits: int) -> str:
    """A figure, with its least and most over the seeds."""
    mean = f"{getattr(one, name):.{digits}f}"
    if not one.each:
        return mean
    low, high = one.spread(name)
    return f"{mean} ({low:.{digits}f} to {high:.{digits}f})"


def _show(compared: list[Compared], how: str, notes: tuple[str, ...]) -> None:
    from ..sparsity.plan_table import percent, table

    rows = [(
        one.taken.name, f"{one.taken.seconds:.3f} s", f"{one.speedup:.2f} x",
        "-" if one.predicted is None else f"{one.predicted:.2f} x", percent(one.taken.flop_share),
        _spread(one, "ssim", 3), _spread(one, "psnr", 1), f"{one.latent_distance:.3f}",
        f"{one.equal_bits:.1%}", str(one.bit_scales),
    ) for one in compared]
    head = ("", "time", "speed-up", "predicted", "FLOPs", "SSIM", "PSNR", "latent distance",
            "equal bits", "scales compared")
    every = [f"note ({one.taken.name}): {note}" for one in compared for note in one.taken.notes]
    print(safe_lines([*table(head, rows, left=(0,)), how, *notes, *every]))

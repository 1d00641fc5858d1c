"""``toprovar fit-skipvar``: decision models for SkipVAR, fitted to a model's own pictures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..printable import printable
from .early import check_model, check_target
from .measuring import (
    add_measuring,
    check_measuring,
    command_line,
    given_prompts,
    sampling_of,
    schedules_of,
)
from .model_options import add_device, add_model, load_pipeline
from .outputs import DECISIONS, Output, add_overwrite, check_outputs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("prompt", nargs="*", help="what to draw and measure")
    add("--out", metavar="FILE", required=True, help="the decision models (JSON)")
    add_model(parser)
    add_measuring(parser, 60, "may be given more than once")
    add("--target", type=float, default=0.84,
        help="SSIM to the dense picture to be kept (default: 0.84)")
    add_overwrite(parser)
    add_device(parser)


def run(arguments: argparse.Namespace) -> int:
    prompts = given_prompts(arguments)
    check_measuring(arguments)
    if not 0 < arguments.target <= 1:
        raise ValueError(f"--target must be above 0 and at most 1, got {arguments.target}")
    out = Path(arguments.out)
    check_target("--out", out)
    check_outputs(arguments, [Output("--out", out, DECISIONS)])
    check_model(arguments)
    from tqdm import tqdm

    from ..analysis.skipvar_fit import check_fitting, fit_skipvar
    from ..analysis.skipvar_measure import runs_of

    check_fitting()
    pipeline = load_pipeline(arguments)
    pipeline.set_progress_bar_config(disable=True)  # one bar, that of the pictures
    schedules = schedules_of(arguments, pipeline.config["default_pn"])
    seeds = range(arguments.seed, arguments.seed + arguments.num_seeds)
    total = runs_of(len(prompts) * len(seeds)) * len(schedules)
    with tqdm(total=total, desc="pictures") as bar:
        found = fit_skipvar(
            pipeline, prompts, seeds, schedules=schedules, target=arguments.target,
            batch=arguments.batch, on_images=bar.update, provenance={
                "command": command_line("fit-skipvar", arguments, schedules, ["target"]),
                "device": str(pipeline.transformer.device),
                "dtype": str(pipeline.transformer.compute_dtype).removeprefix("torch."),
            }, **sampling_of(arguments),
        )
    found.save(out)
    for model in found.root.values():
        show(model.pn or "", model.provenance)
    print(printable(f"\nwrote {out.absolute()}"))
    return 0


def show(pn: str, told: dict[str, Any]) -> None:
    """One schedule's figures on the terminal."""
    print(f"\n{pn}: {told['pictures']} pictures of {told['prompts']} prompts")
    print("mean SSIM to dense: " + ", ".join(f"{k} {v:.3f}" for k, v in told["mean_ssim"].items()))
    print(f"labels: skip {_counts(told['skip_labels'])}; of those with 0, without guidance "
          f"{_counts(told['uncond_labels'])}")
    held = told["held_out"]
    if held is None:
        print("one prompt: nothing could be held out")
        return
    print(f"held-out prompts: skip right {held['skip_accuracy']:.2f} (the commonest label "
          f"{held['skip_commonest']:.2f})", end="")
    if held["uncond_accuracy"] is not None:
        print(f", guidance right {held['uncond_accuracy']:.2f} (the commonest "
              f"{held['uncond_commonest']:.2f})", end="")
    print(f"; mean SSIM {held['mean_ssim']:.3f}, {held['at_target']:.0%} at the target; decided "
          f"skip {_counts(held['skip'])}, without guidance {_counts(held['uncond'])}")


def _counts(counts: dict[str, int]) -> str:
    return " ".join(f"{label}:{n}" for label, n in counts.items())

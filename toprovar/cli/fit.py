"""``toprovar fit-NAME``: what a strategy decides by, fitted to a model's own pictures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..printable import printable
from ..sparsity.strategies.base import Settings
from ..sparsity.strategies.options import options_in, settings_in
from ..sparsity.strategies.registry import fits
from .early import check_model, check_target
from .measuring import (
    add_measuring,
    check_measuring,
    command_line,
    given_prompts,
    sampling_of,
    schedules_of,
    tell_notes,
)
from .model_options import add_device, add_model, load_pipeline
from .outputs import Output, add_overwrite, check_outputs, fitted
from .strategy_options import add_option, value_of


class FitCommand:
    """The command of one strategy.

    Args:
        name: of the strategy.
    """

    def __init__(self, name: str) -> None:
        self.name, self.fit = name, fits()[name]
        self.options = options_in(self.fit.settings)

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        add = parser.add_argument
        add("prompt", nargs="*", help="what to draw and measure")
        add("--out", metavar="FILE", required=True, help=f"the {self.fit.result} (JSON)")
        add_model(parser)
        add_measuring(parser, self.fit.bundled, "may be given more than once")
        for option in self.options:
            add_option(parser, option)
        add_overwrite(parser)
        add_device(parser)

    def run(self, arguments: argparse.Namespace) -> int:
        prompts = given_prompts(arguments)
        check_measuring(arguments)
        settings = self._settings(arguments)
        out = Path(arguments.out)
        check_target("--out", out)
        check_outputs(arguments, [Output("--out", out, fitted(self.name, self.fit))])
        check_model(arguments)
        from tqdm import tqdm

        from ..analysis.fits import fitting_of

        fitting = fitting_of(self.name)
        fitting.check()
        pipeline = load_pipeline(arguments)
        pipeline.set_progress_bar_config(disable=True)  # one bar, that of the pictures
        schedules = schedules_of(arguments, pipeline.config["default_pn"])
        tell_notes(pipeline, prompts)
        seeds = range(arguments.seed, arguments.seed + arguments.num_seeds)
        total = fitting.runs_of(len(prompts) * len(seeds)) * len(schedules)
        told = _told(settings)
        asked = argparse.Namespace(**{**vars(arguments), **told})
        with tqdm(total=total, desc="pictures") as bar:
            found = fitting.fit(
                pipeline, prompts, seeds, schedules=schedules, batch=arguments.batch,
                on_images=bar.update, provenance={
                    "command": command_line(f"fit-{self.name}", asked, schedules, list(told)),
                    "device": str(pipeline.transformer.device),
                    "dtype": str(pipeline.transformer.compute_dtype).removeprefix("torch."),
                }, **settings.model_dump(), **sampling_of(arguments),
            )
        found.save(out)
        for line in fitting.told(found):
            print(printable(line))
        print(printable(f"\nwrote {out.absolute()}"))
        return 0

    def _settings(self, arguments: argparse.Namespace) -> Settings:
        given = {option.name: value_of(option, value) for option in self.options
                 if (value := getattr(arguments, option.name, None)) is not None}
        return settings_in(self.fit.settings, given,
                           {option.name: option.flag or option.name for option in self.options})


def _told(settings: Settings) -> dict[str, Any]:
    """Those that are not None, as the command line takes them."""
    found: dict[str, Any] = {}
    for name, value in settings.model_dump(exclude_none=True).items():
        if isinstance(value, bool):
            value = "yes" if value else "no"
        elif isinstance(value, tuple):
            value = ",".join(f"{each:g}" for each in value)
        found[name] = value
    return found

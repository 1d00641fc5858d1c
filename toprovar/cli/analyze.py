"""``toprovar analyze``: the entropies of a model's attention on some prompts, and calibration."""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arguments import MOST_IMAGES, check_prompts, seed_list, share, whole
from ..printable import printable
from ..reading import read_text, reading
from .early import check_folder, check_model, check_sampling, check_source, check_target
from .model_options import add_device, add_model, engine_options, load_pipeline
from .outputs import (
    CALIBRATION,
    PICTURE,
    SHORTCUTS,
    SUMMARY,
    TRACE,
    Output,
    add_overwrite,
    check_outputs,
)

if TYPE_CHECKING:
    from ..analysis import Analysis
    from ..entropy.calibration import Calibration
    from ..schedules import ScaleSchedule


MAPS = 8
"""Pictures whose maps are drawn."""
MOST_PICTURES = 100_000
MOST_BYTES = 16 << 20
"""Of a file of prompts."""
NUMBER = re.compile(r"\d{1,3}", re.ASCII)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("prompt", nargs="*", help="what to draw and measure")
    add("--prompts", metavar="FILE", help="a text file of prompts, one a line")
    add("--bundled", type=int, nargs="?", const=20, metavar="N",
        help="N prompts of the embedded model's set, evenly spread (default 20)")
    add_model(parser)
    add("--pixels", "--pn", dest="pn", action="append", metavar="PN",
        help="pixel budget: 0.06M, 0.25M, 0.60M or 1M; with --calibrate more than one may be given")
    add("--aspect", metavar="W:H", default="1:1", help="width to height, such as 3:2")
    add("--seed", type=int, default=0, help="first seed (default 0)")
    add("--num-seeds", type=int, default=1, help="pictures of each prompt (default 1)")
    add("--cfg", type=float, help="guidance strength; 1 = off")
    add("--tau", type=float, help="temperature")
    add("--scales", metavar="LIST", help="scales to measure, such as 4,6-9 (default: all)")
    add("--layers", metavar="LIST", help="layers to measure, such as 0-3,8 (default: all)")
    add("--heads", action="store_true", help="keep the heads apart in the trace")
    add("--batch", type=int, default=1, help="pictures at once (default 1)")
    add("--calibration", metavar="FILE",
        help="score layers by it (default: the one in the box, if it is of this model)")
    add("--out", metavar="DIR", help="folder for trace.safetensors, summary.json and pictures")
    add("--json", action="store_true", help="print one JSON object instead of tables")
    add_overwrite(parser)
    calibration = parser.add_argument_group("calibration")
    calibration.add_argument("--calibrate", metavar="FILE",
                             help="calibrate the model on these prompts and write FILE (JSON), "
                                  "and its shortcuts beside it (.safetensors)")
    calibration.add_argument("--shortcut-pictures", type=int, default=96, metavar="N",
                             help="pictures that shortcuts through the first layers are fitted to "
                                  "(default 96; 0 = no shortcuts)")
    calibration.add_argument("--target-ssim", type=float, default=0.8,
                             help="similarity to the dense picture that counts as unharmed "
                                  "(default 0.8)")
    calibration.add_argument("--ratio-scale", choices=["log", "raw"], default="log",
                             help="layer scores from the logarithm of sigma1/sigma2, or from the "
                                  "ratio itself as published")
    add_device(parser)


def run(arguments: argparse.Namespace) -> int:
    prompts = _prompts(arguments)
    scales, layers = (_numbers(name, getattr(arguments, name)) for name in ("scales", "layers"))
    check_measuring(arguments)
    if arguments.calibrate:
        if arguments.scales or arguments.layers or arguments.heads or arguments.out:
            raise ValueError("--calibrate measures every scale and layer and writes one file: "
                             "leave out --scales, --layers, --heads and --out")
        if Path(arguments.calibrate).suffix == ".safetensors":
            raise ValueError("--calibrate writes JSON, and shortcuts beside it: give FILE.json")
        whole("--shortcut-pictures", arguments.shortcut_pictures, 0, MOST_PICTURES)
        share("--target-ssim", arguments.target_ssim)
        check_target("--calibrate", arguments.calibrate)
    elif len(arguments.pn or []) > 1:
        raise ValueError("several --pn are for --calibrate only")
    out = Path(arguments.out) if arguments.out else None
    check_folder("--out", out)
    check_source("--calibration", arguments.calibration)
    check_outputs(arguments, _outputs(arguments, out))
    check_model(arguments)
    pipeline = load_pipeline(arguments)
    pipeline.set_progress_bar_config(disable=True)  # one bar, that of the pictures
    schedules = _schedules(arguments, pipeline.config["default_pn"])
    if arguments.calibrate:
        return _calibrate(arguments, pipeline, prompts, schedules)
    return _analyze(arguments, pipeline, prompts, schedules[0], scales, layers, out)


def _outputs(arguments: argparse.Namespace, out: Path | None) -> list[Output]:
    """What will be written, and perhaps less."""
    found = []
    if arguments.calibrate:
        file = Path(arguments.calibrate)
        found.append(Output("--calibrate", file, CALIBRATION))
        if arguments.shortcut_pictures:
            found.append(Output("--calibrate", file.with_suffix(".safetensors"), SHORTCUTS))
    if out:
        found += [Output("--out", out / "trace.safetensors", TRACE),
                  Output("--out", out / "summary.json", SUMMARY)]
        found += [Output("--out", out / name, PICTURE)
                  for name in ("layers.png", "rho.png", *(f"maps-{i}.png" for i in range(MAPS)))]
    return found


def check_measuring(arguments: argparse.Namespace) -> None:
    """What commands that measure on many pictures share: refused before the model is loaded."""
    whole("--num-seeds", arguments.num_seeds, 1, MOST_PICTURES)
    whole("--batch", arguments.batch, 1, MOST_IMAGES)
    check_sampling(arguments)
    seed_list(arguments.seed + arguments.num_seeds - 1, 1)
    _schedules(arguments, "1M")


def _schedules(arguments: argparse.Namespace, default_pn: str) -> list[ScaleSchedule]:
    from ..schedules import get_schedule, parse_aspect

    aspect = parse_aspect(arguments.aspect)
    return [get_schedule(aspect, pn) for pn in dict.fromkeys(arguments.pn or [default_pn])]


def _how(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"guidance_scale": arguments.cfg, "tau": arguments.tau,
            "options": engine_options(arguments)}


def _analyze(arguments: argparse.Namespace, pipeline: Any, prompts: list[str],
             schedule: ScaleSchedule, scales: list[int] | None, layers: list[int] | None,
             out: Path | None) -> int:
    from tqdm import tqdm

    from ..analysis import analyze
    from ..entropy.calibration import Calibration, find_calibration
    from ..models.fingerprint import model_fingerprint

    fingerprint = model_fingerprint(pipeline.transformer)
    if arguments.calibration:
        calibration = Calibration.load(arguments.calibration)
        if calibration.model != fingerprint:
            raise ValueError(f"{arguments.calibration} is of the model {calibration.model}, this "
                             f"is {fingerprint}: calibrate this one with --calibrate FILE")
    else:
        calibration = find_calibration(fingerprint)
    seeds = range(arguments.seed, arguments.seed + arguments.num_seeds)
    with tqdm(total=len(prompts) * len(seeds), desc="pictures", disable=arguments.json) as bar:
        found = analyze(
            pipeline, prompts, seeds, schedule=schedule, scales=scales, layers=layers,
            heads=arguments.heads, batch=arguments.batch, calibration=calibration,
            on_images=bar.update, **_how(arguments),
        )
    if arguments.json:
        print(json.dumps(found.to_json()))
    else:
        show(found)
    if out:
        names = write(found, out, calibration)
        if not arguments.json:
            print(printable(f"\nwrote {', '.join(names)} to {out.absolute()}"))
    return 0


def _calibrate(arguments: argparse.Namespace, pipeline: Any, prompts: list[str],
               schedules: list[ScaleSchedule]) -> int:
    from tqdm import tqdm

    from ..analysis import calibrate, fit_shortcuts, fitting_runs, runs_needed, with_used
    from ..bundled import NAME as BUNDLED
    from ..entropy.calibration import shortcuts_beside
    from ..sparsity.shortcuts import register_shortcuts

    seeds = range(arguments.seed, arguments.seed + arguments.num_seeds)
    source = arguments.model or arguments.transformer
    name = Path(source).absolute().name if source else BUNDLED
    shortcuts = None
    # Seeds that calibration does not measure with.
    jobs = [(prompts[i % len(prompts)], seeds.stop + 1000 + i // len(prompts))
            for i in range(arguments.shortcut_pictures)]
    if jobs:
        runs = fitting_runs(pipeline.transformer.shape, len(jobs), schedules)
        with tqdm(total=runs, desc="shortcuts", disable=arguments.json) as bar:
            shortcuts = fit_shortcuts(pipeline, jobs, schedules, batch=arguments.batch,
                                      on_images=bar.update, **_how(arguments))
    if shortcuts:
        register_shortcuts(shortcuts)
    total = runs_needed(len(prompts), len(seeds), schedules,
                        len(shortcuts.lengths) if shortcuts else 0)
    with tqdm(total=total, desc="pictures", disable=arguments.json) as bar:
        found = calibrate(
            pipeline, prompts, seeds, schedules=schedules, target_ssim=arguments.target_ssim,
            ratio_scale=arguments.ratio_scale, batch=arguments.batch, name=name,
            shortcuts=shortcuts,
            provenance={"command": command_line(
                            "analyze", arguments, schedules,
                            ["target_ssim", "ratio_scale", "shortcut_pictures"]),
                        "device": arguments.device,
                        "dtype": str(pipeline.transformer.compute_dtype).removeprefix("torch.")},
            on_images=bar.update, **_how(arguments),
        )
        found, shortcuts = with_used(pipeline.transformer.shape, found, shortcuts)
        bar.total = bar.n  # it was a bound: how many choices there are shows only on the way
        bar.refresh()
    written = [Path(arguments.calibrate).absolute()]
    if found.shortcuts and shortcuts:  # first: a calibration must not name what is not there
        written.append(shortcuts_beside(written[0]))
        shortcuts.save(written[1])
    found.save(arguments.calibrate)
    if arguments.json:
        print(json.dumps(found.to_json()))
    else:
        show_calibration(found)
        print(printable(f"\nwrote {' and '.join(map(str, written))}"))
    return 0


def command_line(program: str, arguments: argparse.Namespace, schedules: list[ScaleSchedule],
                 options: Sequence[str]) -> str:
    """What was asked, without the paths of this machine."""
    words = [f"toprovar {program}"]
    if arguments.bundled:
        words.append(f"--bundled {arguments.bundled}")
    words += [f"--pixels {s.pn}" for s in schedules]
    words += [f"--{name.replace('_', '-')} {getattr(arguments, name)}"
              for name in ("aspect", "seed", "num_seeds", *options)]
    return " ".join(words)


def write(found: Analysis, out: Path, calibration: Calibration | None = None) -> list[str]:
    """The trace, the summary and the pictures; the names of the files."""
    from ..entropy import pictures
    from ..files import replace_file
    from ..schedules import find_schedule

    out.mkdir(parents=True, exist_ok=True)
    found.trace.save(out / "trace.safetensors")
    text = json.dumps(found.to_json(), indent=1, ensure_ascii=False) + "\n"
    replace_file(out / "summary.json", text.encode())
    entry = None
    if calibration and found.calibrated:
        entry = calibration.entry(find_schedule(found.trace.about.grids))[0]
    tau = calibration.tau if calibration and calibration.rho_informative else None
    files = {
        "layers.png": pictures.layer_strip(found.trace, found.summary),
        "rho.png": pictures.rho_curve(found.trace, found.summary, tau,
                                      entry.start_scale if entry else None),
    }
    for i, image in enumerate(found.images[:MAPS]):
        files[f"maps-{i}.png"] = pictures.entropy_maps(found.trace, i, picture=image)
    for name, figure in files.items():
        replace_file(out / name, pictures.png(figure))
    return ["trace.safetensors", "summary.json", *files]


def show(found: Analysis) -> None:
    """Tables on the terminal."""
    trace, summary = found.trace, found.summary
    print(f"{trace.images} pictures, {found.seconds:.1f} s; mean and, in brackets, standard "
          "deviation over pictures\n")
    print("scale  tokens   entropy          H/log(keys)      rho              spread  follows")
    for scale, row in summary.scales.items():
        print(f"{scale:5d}  {row.grid[0] * row.grid[1]:6d}   {_spread(row.entropy)}  "
              f"{_spread(row.relative)}  {_spread(row.rho)}  "
              f"{_plain(row.spread and row.spread.mean)}  "
              f"{_plain(row.follows and row.follows.mean)}")
    print(f"\nrho is {'' if summary.rho.informative else 'not '}informative here: "
          f"{summary.rho.reason}")
    origin = "the model's calibration" if found.calibrated else "fitted to these pictures"
    print(f"\nlayers at scale {summary.representative} ({origin}); order between pictures: "
          f"Spearman {_plain(summary.order_stability).strip()}\n")
    print("layer  sigma1/sigma2 (sd of ln)  score  class      same map in all pictures")
    for i, layer in enumerate(summary.layers):
        ratio = summary.fit.principal_ratios[i]
        print(f"{layer:5d}  {ratio.mean:13.1f} ({ratio.sd:8.3f})  "
              f"{summary.fit.layer_scores[i]:5.2f}  {summary.fit.layer_classes[i]:9s}  "
              f"{_plain(summary.map_stability[i])}")


def show_calibration(found: Calibration) -> None:
    """Tables on the terminal."""
    print(f"{printable(found.name or found.model)}: {found.prompts} prompts, {found.seeds} seeds")
    for pn, entry in found.entries.items():
        print(f"\n{pn}: pruned from scale {entry.start_scale} on: {entry.start_reason}")
        print("scale  tokens  rho              SSIM, not run    SSIM, pruned")
        for scale, row in enumerate(entry.scales):
            print(f"{scale:5d}  {row.grid[0] * row.grid[1]:6d}  {_spread(row.rho)}  "
                  f"{_spread(row.exit_ssim)}  {_spread(row.pruned_ssim)}")
        print(f"layers at scale {entry.representative_scale} (order between pictures: Spearman "
              f"{_plain(entry.order_stability).strip()}), beta {entry.beta:.3f}:")
        print("  " + "  ".join(f"{i}:{kind[0].upper() if kind != 'ambiguous' else '?'} {score:.2f}"
                               for i, (score, kind) in enumerate(
                                   zip(entry.layer_scores, entry.layer_classes, strict=True))))
    accuracy = "(nearly) every scale tried kept the target, or none did: nothing to fit"
    if found.rho_accuracy is not None:
        accuracy = (f"balanced accuracy {found.rho_accuracy:.2f}, of a fixed scale "
                    f"{found.scale_accuracy:.2f}")
    print(f"\ntau {found.tau:.2f}, {found.crossing}: {accuracy}")
    print(f"rho is {'' if found.rho_informative else 'not '}informative: {found.rho_reason}")


def _spread(value: Any) -> str:
    return f"{value.mean:6.3f} ({value.sd:6.3f})" if value else "              -"


def _plain(value: float | None) -> str:
    return f"{value:6.3f}" if value is not None and math.isfinite(value) else "     -"


def _prompts(arguments: argparse.Namespace) -> list[str]:
    prompts = list(arguments.prompt)
    if arguments.prompts:
        with reading(arguments.prompts, "file of prompts", "give a text file, a prompt a line"):
            lines = read_text(arguments.prompts, MOST_BYTES).splitlines()
        own = [line.strip() for line in lines if line.strip()]
        if not own:
            raise ValueError(f"{arguments.prompts}: a file of prompts without a prompt; give a "
                             "text file, a prompt a line")
        prompts += own
    if arguments.bundled is not None:
        from ..evaluation.compositional.prompts import bundled_prompts

        every = bundled_prompts()
        if not 1 <= arguments.bundled <= len(every):
            raise ValueError(f"--bundled must be between 1 and {len(every)}, "
                             f"got {arguments.bundled}")
        # Tasks lie one behind the other in the set, so even steps touch all of them.
        prompts += [every[i * len(every) // arguments.bundled].text
                    for i in range(arguments.bundled)]
    if not prompts:
        raise ValueError("give at least one prompt, or --prompts FILE, or --bundled")
    return check_prompts("prompt", prompts)


def _numbers(name: str, text: str | None) -> list[int] | None:
    """"4,6-9" -> [4, 6, 7, 8, 9]."""
    if text is None:
        return None
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not NUMBER.fullmatch(first) or (dash and not NUMBER.fullmatch(last)):
            raise ValueError(f"--{name} must look like 4,6-9, got {text!r}")
        found += range(int(first), int(last if dash else first) + 1)
    if not found:
        raise ValueError(f"--{name} names none: {text!r}")
    return sorted(set(found))

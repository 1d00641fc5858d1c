"""Command line and files that both training programs share."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from training import parallel
from training.data.atlas import SpriteAtlas
from training.data.tokenizer import CaptionEncoder
from training.loop import CHECKPOINT, Loop, Stage
from training.settings import RunSettings
from training.stream import SceneStream

log = logging.getLogger(__name__)
ATLAS = Path("training/.cache/atlas.safetensors")


def parser(description: str, config: str, out: str) -> argparse.ArgumentParser:
    """Options of both programs."""
    p = argparse.ArgumentParser(description=description)
    p.add_argument("--config", type=Path, default=Path("training/configs") / config)
    p.add_argument(
        "--out",
        type=Path,
        default=Path("training/runs") / out,
        help="folder of the run: checkpoint, log, sheets, bundle",
    )
    p.add_argument("--minutes", type=float, help="length of this leg, in place of the config's")
    p.add_argument("--steps", type=int, help="length of the run in steps, in place of minutes")
    p.add_argument(
        "--until",
        type=float,
        default=1.0,
        help="end this leg at this share of the learning-rate schedule",
    )
    p.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint in --out if there is one"
    )
    p.add_argument(
        "--from-bundle", type=Path, help="begin at these averaged weights, with a new schedule"
    )
    p.add_argument(
        "--keep-progress",
        action="store_true",
        help="with --from-bundle: go on in its schedule instead",
    )
    p.add_argument(
        "--bring", type=Path, help="copy bundle, log and sheet here, flat, after every check"
    )
    p.add_argument("--atlas", type=Path, default=ATLAS)
    p.add_argument("--device", help="cuda or cpu; whichever there is by default")
    p.add_argument("--threads", type=int, help="CPU threads")
    return p


def adjusted(run: RunSettings, arguments: argparse.Namespace) -> RunSettings:
    """Run settings with the command line's changes."""
    changes: dict[str, Any] = {}
    if arguments.minutes is not None:
        changes |= {"minutes": arguments.minutes, "steps": 0}
    if arguments.steps is not None:
        changes["steps"] = arguments.steps
    return replace(run, **changes)


def prepare(arguments: argparse.Namespace) -> torch.device:
    """Logging, threads and the device; joins the other processes of ``torchrun``."""
    level = logging.WARNING if parallel.rank() else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = parallel.device_of(arguments.device)
    parallel.start(device)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
        # Flash attention takes scales of any length; cuDNN builds a plan for each.
        torch.backends.cuda.enable_cudnn_sdp(False)
    return device


def train(
    stage: Stage,
    run: RunSettings,
    arguments: argparse.Namespace,
    atlas: SpriteAtlas,
    length: int,
) -> dict[str, Any]:
    """Run one leg; captions are padded to ``length`` tokens."""
    loop = Loop(stage, run, arguments.out, arguments.until, arguments.bring)
    if arguments.resume and (arguments.out / CHECKPOINT).is_file():
        loop.resume()
        log.info("resumed at step %d", loop.counter.step)
    elif arguments.from_bundle:
        loop.start_from(arguments.from_bundle, arguments.keep_progress)
        log.info("began at the weights of step %d", loop.counter.step)
    stream = SceneStream(run.views, run.seed, atlas, CaptionEncoder(length), loop.counter.step)
    try:
        found = loop.run(stream)
    finally:
        stream.close()
    parallel.stop()
    return found

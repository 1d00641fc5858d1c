"""Train the judge: ``python -m training.train_judge --config FILE --vae BUNDLE``.

Writes ``judge.safetensors`` (weights, names, thresholds) into the run's folder.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import replace
from pathlib import Path

import torch

from toprovar.evaluation.compositional.decode import Thresholds
from toprovar.evaluation.compositional.judge import Judge
from training.command import adjusted, parser, prepare
from training.data.atlas import SpriteAtlas
from training.data.colours import COLOUR_NAMES
from training.data.files import replacing
from training.judge.augment import Augment
from training.judge.calibrate import calibrate
from training.judge.reconstruct import Reconstructor
from training.judge.settings import JudgeSettings, load_settings
from training.judge.spoilt import SpoiltAtlas
from training.judge.stage import JudgeStage, load_detector
from training.judge.stream import JudgeStream
from training.judge.truth import CLASS_NAMES
from training.loop import CHECKPOINT, Loop
from training.tokenizer_stage import load_autoencoder

log = logging.getLogger(__name__)
JUDGE = "judge.safetensors"


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__ or "", "judge_gpu.json", "judge")
    options.add_argument("--vae", type=Path,
                         help="bundle of the trained autoencoder, for its reconstructions")
    arguments = options.parse_args(argv)
    settings = load_settings(arguments.config)
    settings = replace(settings, run=adjusted(settings.run, arguments))
    device = prepare(arguments)
    sprites = SpoiltAtlas(
        SpriteAtlas.load(arguments.atlas, device), settings.spoilt, settings.run.seed
    )
    rebuild = load_reconstructor(arguments.vae, device, settings.run.compute)
    if rebuild is None:
        log.warning("no --vae given: the judge will not know the autoencoder's traces")
    stage = JudgeStage(settings, sprites, rebuild, device)
    loop = Loop(stage, settings.run, arguments.out, arguments.until, arguments.bring)
    if arguments.resume and (arguments.out / CHECKPOINT).is_file():
        loop.resume()
    elif arguments.from_bundle:
        loop.start_from(arguments.from_bundle, arguments.keep_progress)
    view = settings.run.views[0]
    stream = JudgeStream(view, settings.run.seed, sprites, settings.mixture, loop.counter.step)
    try:
        loop.run(stream)
    finally:
        stream.close()
    judge = finished(arguments.out, settings, sprites, rebuild, device)
    with replacing(arguments.out / JUDGE) as temporary:
        judge.save(temporary)
    log.info("thresholds %s, %s", judge.thresholds, judge.about["calibration"]["chosen"])
    if arguments.bring:
        shutil.copyfile(arguments.out / JUDGE, arguments.bring / JUDGE)
    return 0


def load_reconstructor(
    bundle: Path | None, device: torch.device, compute: str
) -> Reconstructor | None:
    """The autoencoder of a bundle, if one is given."""
    if bundle is None:
        return None
    return Reconstructor(load_autoencoder(bundle, device), getattr(torch, compute))


def finished(
    out: Path, settings: JudgeSettings, sprites: SpoiltAtlas, rebuild: Reconstructor | None,
    device: torch.device,
) -> Judge:
    """The calibrated judge of a run's averaged weights."""
    detector, info = load_detector(out / "bundle", device)
    about = {
        "steps": info["step"], "pictures": info["images"], "check": info["check"],
        "reconstructions": rebuild is not None,
    }
    judge = Judge(detector, CLASS_NAMES, COLOUR_NAMES, Thresholds(), about)
    augment = Augment(settings.augment, rebuild)
    return calibrate(judge, sprites, augment, settings.mixture, settings.calibration)


if __name__ == "__main__":
    raise SystemExit(main())

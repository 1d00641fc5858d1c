"""Train the second network: ``python -m training.train_second --config FILE``.

Writes ``second.safetensors`` into the run's folder, which ``benchmarks.quality --second`` takes.
"""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

from toprovar.evaluation.second import SecondConfig, SecondNetwork
from training import parallel
from training.bundles import part, read_bundle
from training.command import adjusted, parser, prepare
from training.data.atlas import SpriteAtlas
from training.data.files import replacing
from training.data.tokenizer import CaptionEncoder
from training.loop import CHECKPOINT, Loop, load_part
from training.second.stage import SecondSettings, SecondStage, SecondStream
from training.settings import OptimizerSettings, RunSettings, parse

log = logging.getLogger(__name__)
SECOND = "second.safetensors"


def load_settings(path: Path) -> SecondSettings:
    """Read a settings file; unknown names are errors."""
    values = json.loads(path.read_text(encoding="utf-8"))
    if unknown := sorted(set(values) - {"run", "optimizer"}):
        raise ValueError(f"{path}: unknown {', '.join(unknown)}; known: run, optimizer")
    return SecondSettings(parse(RunSettings, values["run"], "run"),
                          parse(OptimizerSettings, values.get("optimizer", {}), "optimizer"))


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__ or "", "second.json", "second").parse_args(argv)
    settings = load_settings(arguments.config)
    settings = replace(settings, run=adjusted(settings.run, arguments))
    device = prepare(arguments)
    atlas = SpriteAtlas.load(arguments.atlas, device)
    stage = SecondStage(settings, atlas, device)
    loop = Loop(stage, settings.run, arguments.out, arguments.until, arguments.bring)
    if arguments.resume and (arguments.out / CHECKPOINT).is_file():
        loop.resume()
    elif arguments.from_bundle:
        loop.start_from(arguments.from_bundle, arguments.keep_progress)
    stream = SecondStream(settings.run.views, settings.run.seed, atlas, CaptionEncoder(2),
                          loop.counter.step)
    try:
        loop.run(stream)
    finally:
        stream.close()
    parallel.stop()
    if parallel.rank():
        return 0
    tensors, info = read_bundle(arguments.out / "bundle")
    model = SecondNetwork(SecondConfig.from_dict(info["second"]))
    load_part(model, part(tensors, "second"))
    about = {"steps": info["step"], "pictures": info["images"], "check": info["check"]}
    with replacing(arguments.out / SECOND) as temporary:
        model.save(temporary, about)
    log.info("%s: %s", arguments.out / SECOND, about)
    if arguments.bring:
        shutil.copyfile(arguments.out / SECOND, arguments.bring / SECOND)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

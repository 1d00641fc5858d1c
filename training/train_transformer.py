"""Train the transformer: ``python -m training.train_transformer --config FILE``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from training.command import adjusted, parser, prepare, train
from training.data.atlas import SpriteAtlas
from training.settings import TransformerSettings, load
from training.tokenizer_stage import load_autoencoder
from training.transformer_stage import TransformerStage


def main(argv: list[str] | None = None) -> int:
    options = parser(__doc__ or "", "transformer.json", "transformer")
    options.add_argument("--tokenizer", type=Path, default=Path("training/runs/tokenizer/bundle"),
                         help="bundle of the trained autoencoder")
    options.add_argument("--optimizer", choices=("adamw", "muon"), help="in place of the config's")
    arguments = options.parse_args(argv)
    settings = load(TransformerSettings, arguments.config)
    if arguments.optimizer:
        optimizer = replace(settings.optimizer, name=arguments.optimizer)
        settings = replace(settings, optimizer=optimizer)
    device = prepare(arguments)
    atlas = SpriteAtlas.load(arguments.atlas, device)
    stage = TransformerStage(settings, load_autoencoder(arguments.tokenizer, device), atlas, device)
    run = adjusted(settings.run, arguments)
    train(stage, run, arguments, atlas, settings.text.length)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

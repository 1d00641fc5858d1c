"""Train the BSQ autoencoder: ``python -m training.train_tokenizer --config FILE``."""

from __future__ import annotations

from training.command import adjusted, parser, prepare, train
from training.data.atlas import SpriteAtlas
from training.settings import TokenizerSettings, load
from training.tokenizer_stage import TokenizerStage


def main(argv: list[str] | None = None) -> int:
    arguments = parser(__doc__ or "", "tokenizer.json", "tokenizer").parse_args(argv)
    settings = load(TokenizerSettings, arguments.config)
    device = prepare(arguments)
    atlas = SpriteAtlas.load(arguments.atlas, device)
    stage = TokenizerStage(settings, atlas, device)
    train(stage, adjusted(settings.run, arguments), arguments, atlas, 2)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

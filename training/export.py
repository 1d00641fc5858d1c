"""Write trained models as a pipeline folder, the form in which the package ships one.

``python -m training.export --tokenizer BUNDLE --transformer BUNDLE --out FOLDER``
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import tempfile
from pathlib import Path

import torch
from torch import nn

from toprovar.models.config import TransformerConfig
from toprovar.models.transformer import InfinityTransformer
from training.bundles import part, read_bundle
from training.data.tokenizer import build_tokenizer, name_common_class, word_ids
from training.loop import load_part
from training.settings import TextSettings
from training.text_encoder import build_text_encoder
from training.tokenizer_stage import load_autoencoder

log = logging.getLogger(__name__)
MOST_BYTES = 48 * 10**6
NOTICE = Path(__file__).parent / "NOTICE-emoji.md"
CARD = Path(__file__).parent / "MODEL_CARD.md"


def export(
    tokenizer: Path, transformer: Path, out: Path, most: int = MOST_BYTES, *,
    pn: str = "0.25M", cfg: float = 4.0, tau: float = 0.7,
) -> int:
    """Write a pipeline folder with its notice and model card, all in fp16.

    Args:
        tokenizer, transformer: bundles of the two training programs.
        out: replaced as a whole, once everything is written.
        most: bytes that the weights may take.
        pn, cfg, tau: defaults of the pipeline.

    Returns:
        Bytes of all weights.
    """
    from toprovar.pipeline import InfinityPipeline

    vae = load_autoencoder(tokenizer, torch.device("cpu"))
    tensors, info = read_bundle(transformer)
    model = InfinityTransformer.from_shape(TransformerConfig(**info["transformer"]))
    load_part(model, part(tensors, "transformer"))
    if info["words"] != list(word_ids()):
        raise ValueError("the transformer was trained with another vocabulary than today's")
    text = build_text_encoder(TextSettings(**info["text_encoder"]))
    load_part(text, part(tensors, "text_encoder"))
    modules: dict[str, nn.Module] = {"vae": vae, "transformer": model, "text_encoder": text}
    check_size(modules, most)
    for module in modules.values():
        nn.Module.half(module)
    pipeline = InfinityPipeline(
        model, vae, text, build_tokenizer(), default_pn=pn, default_cfg=cfg, default_tau=tau
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as temporary:
        work = Path(temporary) / out.name
        pipeline.save_pretrained(work)
        # transformers 5 calls the class TokenizersBackend; this name exists in 4 and 5.
        index = json.loads((work / "model_index.json").read_text(encoding="utf-8"))
        index["tokenizer"] = ["transformers", "PreTrainedTokenizerFast"]
        (work / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", "utf-8")
        name_common_class(work / "tokenizer")
        for source, name in ((NOTICE, "NOTICE.md"), (CARD, "README.md")):
            shutil.copyfile(source, work / name)
        weights = list(work.rglob("*.safetensors"))
        for path in weights:
            path.chmod(0o644)  # safetensors writes them for their owner only
        written = sum(path.stat().st_size for path in weights)
        if written > most:
            raise ValueError(f"the weights take {written} bytes, at most {most} are allowed")
        if out.exists():
            shutil.rmtree(out)
        work.rename(out)
    return written


def check_size(modules: dict[str, nn.Module], most: int = MOST_BYTES) -> int:
    """Bytes of all weights in fp16; an error when they are too many."""
    sizes = {name: 2 * sum(p.numel() for p in m.parameters()) for name, m in modules.items()}
    total = sum(sizes.values())
    if total > most:
        raise ValueError(f"the weights would take {total} bytes ({sizes}), at most {most} allowed")
    return total


def main(argv: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tokenizer", type=Path, default=Path("training/runs/tokenizer/bundle"))
    options.add_argument("--transformer", type=Path,
                         default=Path("training/runs/transformer/bundle"))
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--pn", default="0.25M", help="default pixel budget")
    options.add_argument("--cfg", type=float, default=4.0, help="default guidance")
    options.add_argument("--tau", type=float, default=0.7, help="default temperature")
    given = options.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    written = export(given.tokenizer, given.transformer, given.out,
                     pn=given.pn, cfg=given.cfg, tau=given.tau)
    log.info("%d bytes of weights in %s", written, given.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

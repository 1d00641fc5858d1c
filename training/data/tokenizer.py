"""The small word tokenizer, in the format of the transformers library.

Words are lower-cased and split at white space and punctuation; ``</s>`` ends every text.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from training.data.captions import vocabulary

log = logging.getLogger(__name__)

PAD, EOS, UNKNOWN = "<pad>", "</s>", "<unk>"
PAD_ID, EOS_ID, UNKNOWN_ID = 0, 1, 2
MAX_LENGTH = 32
_SPLIT = re.compile(r"[^\W_]+|[^\w\s]|_")


def word_ids() -> dict[str, int]:
    """Id of every token; the special ones first, then the vocabulary in its sorted order."""
    return {word: i for i, word in enumerate((PAD, EOS, UNKNOWN, *vocabulary()))}


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, made from the captions' vocabulary."""
    core = Tokenizer(models.WordLevel(word_ids(), unk_token=UNKNOWN))
    core.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    core.post_processor = processors.TemplateProcessing(
        single=f"$A {EOS}", pair=f"$A $B {EOS}", special_tokens=[(EOS, EOS_ID)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNKNOWN,
        model_max_length=MAX_LENGTH,
        padding_side="right",
        truncation_side="right",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def save_tokenizer(folder: Path) -> None:
    """Write the tokenizer so that ``AutoTokenizer.from_pretrained(folder)`` loads it offline."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        build_tokenizer().save_pretrained(scratch)
        name_common_class(Path(scratch))
        folder.mkdir(exist_ok=True)
        for file in Path(scratch).iterdir():
            os.replace(file, folder / file.name)


def name_common_class(folder: Path) -> None:
    """Let a saved tokenizer name its class so that transformers 4 and 5 both know it."""
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    config.pop("backend", None)
    config.pop("is_local", None)
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")


class CaptionEncoder:
    """Turns captions into padded ids quickly, with the same ids as the tokenizer."""

    def __init__(self, length: int = MAX_LENGTH) -> None:
        if length < 2:
            raise ValueError(f"length must be at least 2, got {length}")
        self.length = length
        self.ids = word_ids()

    def encode_words(self, captions: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        """Ids int64 [B, length] and lengths int64 [B] (``</s>`` included) of split captions."""
        ids, keep = self.ids, self.length - 1
        padding = [PAD_ID] * self.length
        rows, lengths = [], []
        for caption in captions:
            row = [ids.get(word, UNKNOWN_ID) for word in caption[:keep]]
            row.append(EOS_ID)
            lengths.append(len(row))
            rows.append(row + padding[len(row) :])
        return torch.tensor(rows, dtype=torch.int64), torch.tensor(lengths, dtype=torch.int64)

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """The same for plain texts."""
        return self.encode_words([_SPLIT.findall(text.lower()) for text in texts])


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Write the small tokenizer.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    save_tokenizer(arguments.out)
    log.info("%d tokens written to %s", len(word_ids()), arguments.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

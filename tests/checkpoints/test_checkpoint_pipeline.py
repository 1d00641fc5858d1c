"""The pipeline loads what the conversion wrote, text encoder and tokenizer included."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import Unigram
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

from tests.checkpoints.official_format import assert_same, official_state, official_vae
from tests.checkpoints.refusal import save
from toprovar.checkpoints import convert, load_autoencoder, load_transformer
from toprovar.pipeline import InfinityPipeline


def tiny_text_encoder(folder: Path) -> Path:
    config = T5Config(vocab_size=16, d_model=256, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    T5EncoderModel(config).save_pretrained(folder)
    words = Unigram([("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("a", -1.0)], unk_id=2)
    PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(words), pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    return folder


def test_the_pipeline_loads_what_was_written(tmp_path: Path) -> None:
    transformer = save(tmp_path / "t", official_state())
    vae = save(tmp_path / "v", {"vae": official_vae(steps=2)})
    text = tiny_text_encoder(tmp_path / "t5")
    convert([text, vae, transformer], tmp_path / "pipe", max_shard_bytes=100_000, pn="0.06M")
    pipe = InfinityPipeline.from_pretrained(str(tmp_path / "pipe"), local_files_only=True)
    assert_same(pipe.transformer.state_dict(), load_transformer(transformer).state_dict())
    assert_same(pipe.vae.state_dict(), load_autoencoder(vae).state_dict())
    expected = T5EncoderModel.from_pretrained(str(text)).state_dict()
    assert_same(pipe.text_encoder.state_dict(), expected)
    assert len(pipe.tokenizer) == 4
    assert pipe.config["default_pn"] == "0.06M"
    assert not any(isinstance(p, torch.nn.Parameter) and p.is_meta
                   for p in pipe.transformer.parameters())

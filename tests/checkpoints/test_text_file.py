"""A T5 encoder in one safetensors file: the same model as the folder's, or refused by name."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import T5Config, T5EncoderModel, T5ForConditionalGeneration

from tests.checkpoints.official_format import State, assert_same, official_state, official_vae
from tests.checkpoints.refusal import save
from toprovar import InfinityPipeline
from toprovar.checkpoints import CheckpointError, convert
from toprovar.checkpoints.text_file import file_config, file_shape
from toprovar.checkpoints.text_load import load_text_encoder
from toprovar.checkpoints.text_shape import TextShape, read_text_shape
from toprovar.checkpoints.text_weights import inspect_text_encoder

SMALL = T5Config(vocab_size=32128, d_model=64, d_kv=8, d_ff=24, num_layers=3, num_heads=4,
                 feed_forward_proj="gated-gelu")
XL = TextShape(vocab_size=32128, d_model=2048, d_kv=64, d_ff=5120, num_layers=24, num_heads=32,
               feed_forward_proj="gated-gelu")
Q = "encoder.block.1.layer.0.SelfAttention.q.weight"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("t5") / "t5"
    torch.manual_seed(0)
    T5EncoderModel(SMALL).save_pretrained(path)
    return path


@pytest.fixture
def file(folder: Path, tmp_path: Path) -> Path:
    return written(tmp_path, load_file(folder / "model.safetensors"))


def written(folder: Path, state: State) -> Path:
    path = folder / "t5.safetensors"
    save_file({name: tensor.clone() for name, tensor in state.items()}, path)
    return path


def header_only(path: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    """A file of any size that takes no room: its data is a hole."""
    entries, at = {}, 0
    for name, shape in shapes.items():
        entries[name] = {"dtype": "F8_E4M3", "shape": shape,
                         "data_offsets": [at, at + math.prod(shape)]}
        at += math.prod(shape)
    header = json.dumps(entries).encode()
    with path.open("wb") as out:
        out.write(struct.pack("<Q", len(header)) + header)
        out.truncate(8 + len(header) + at)
    return path


def test_the_same_model_as_its_folders(folder: Path, file: Path) -> None:
    found, words = load_text_encoder(file, file, None)
    expected = T5EncoderModel.from_pretrained(folder)
    assert_same(found.state_dict(), expected.state_dict())
    batch = words(["a photo of a cat", ""], padding="longest", return_tensors="pt")
    with torch.no_grad():
        pair = [model.eval()(**batch).last_hidden_state for model in (found, expected)]
    assert torch.equal(*pair)
    assert inspect_text_encoder(file).shape == read_text_shape(folder)


def test_the_box_has_the_tokenizer_of_t5(file: Path) -> None:
    """Ids as the documentation of T5 in transformers gives them, and the end of a text."""
    _, words = load_text_encoder(file, file, None)
    for text, ids in (("The house is wonderful.", [37, 629, 19, 1627, 5]),
                      ("Das Haus ist wunderbar.", [644, 4598, 229, 19250, 5]), ("", [])):
        assert words(text).input_ids == [*ids, 1]
    assert words.pad_token_id == 0 and words.unk_token_id == 2
    assert words("\u6f22").input_ids == [3, 2, 1]  # a letter that T5 does not know


def test_other_layouts_of_the_same(folder: Path, file: Path, tmp_path: Path) -> None:
    expected, _ = load_text_encoder(file, file, None)
    plain = load_file(folder / "model.safetensors")
    torch.manual_seed(0)
    whole = T5ForConditionalGeneration(T5Config(**{**SMALL.to_dict(), "num_decoder_layers": 1}))
    for number, state in enumerate((
        {k.replace("shared", "encoder.embed_tokens"): v for k, v in plain.items()},
        {**{k: v for k, v in whole.state_dict().items() if "embed_tokens" not in k}, **plain},
        {**plain, "scaled_fp8": torch.zeros(0, dtype=torch.float8_e4m3fn)},
    )):
        (tmp_path / str(number)).mkdir()
        path = written(tmp_path / str(number), state)
        found, _ = load_text_encoder(path, path, None)
        assert_same(found.state_dict(), expected.state_dict())


@pytest.mark.parametrize(("change", "parts"), [
    (lambda s: {k: v for k, v in s.items() if k != Q}, (Q, "missing", "32, 64")),
    (lambda s: {**s, Q: torch.zeros(8, 64)}, (Q, "expected [32, 64]", "found [8, 64]")),
    (lambda s: {**s, Q.replace("block.1", "block.3"): torch.zeros(32, 64)},
     ("block.3", "missing")),
    (lambda s: {**s, Q.replace("q.weight", "q.bias"): torch.zeros(32)},
     ("q.bias", "unexpected", "it has 3 layers, gated-gelu")),
    (lambda s: {k: v for k, v in s.items() if "wi_0" not in k}, ("wi", "missing")),
    (lambda s: {k: v for k, v in s.items() if "attention_bias" not in k}, ("bias", "missing")),
    (lambda s: {f"t5.{k}": v for k, v in s.items()}, ("not of a T5", "found t5.")),
    (lambda s: {**s, "shared.weight": torch.zeros(4)}, ("shared.weight", "a matrix")),
])
def test_every_key_and_shape_is_compared(change: Callable[[State], State],
                                         parts: tuple[str, ...], file: Path) -> None:
    path = written(file.parent, change(load_file(file)))
    with pytest.raises(CheckpointError) as error:
        load_text_encoder(path, path, None)
    for part in (*parts, str(path)):
        assert part in str(error.value), str(error.value)


@pytest.mark.parametrize(("words", "width", "inner", "name"), [
    (32128, 4096, 10240, "t5xxl"), (256384, 4096, 10240, "umt5-xxl"),
    (250112, 2048, 5120, "mt5-xl"),
    (32128, 1024, 2816, "large"),
])
def test_the_wrong_t5_is_named(words: int, width: int, inner: int, name: str, tmp_path: Path
                               ) -> None:
    shape = TextShape(vocab_size=words, d_model=width, d_kv=64, d_ff=inner, num_layers=24,
                      num_heads=width // 64, feed_forward_proj="gated-gelu")
    path = header_only(tmp_path / "t5.safetensors", dict(shape.tensors()))
    for read in (lambda: load_text_encoder(path, path, None),
                 lambda: convert([save(tmp_path / "t", official_state()), path], tmp_path / "out")):
        with pytest.raises(CheckpointError, match=rf"wrong T5.*{name}.*needs flan-t5-xl"):
            read()


def test_flan_t5_xl_is_taken(tmp_path: Path) -> None:
    """By its shapes, alone and as the first part of the released weights, which holds all of the
    encoder and some of the decoder."""
    decoder = {k.replace("encoder", "decoder"): v for k, v in XL.tensors().items()
               if k.startswith("encoder.block.0.")}
    for shapes in (dict(XL.tensors()), {**XL.tensors(), **decoder}):
        path = header_only(tmp_path / "flan.safetensors", shapes)
        found = inspect_text_encoder(path)
        assert found.shape == XL == file_shape(found.source)
    assert file_config(XL)["d_kv"] == 64 and file_config(XL)["model_type"] == "t5"


def test_a_pipeline_from_one_file(file: Path, tmp_path: Path) -> None:
    wide = T5Config(**{**SMALL.to_dict(), "d_model": 256})
    torch.manual_seed(0)
    T5EncoderModel(wide).save_pretrained(tmp_path / "wide")
    right = tmp_path / "wide" / "model.safetensors"
    transformer = save(tmp_path / "t", official_state())
    vae = save(tmp_path / "v", official_vae(steps=2))
    direct = InfinityPipeline.from_official(transformer, vae, right)
    convert([transformer, vae, right], tmp_path / "pipe")
    for pipe in (InfinityPipeline.from_folder(tmp_path / "pipe"),
                 InfinityPipeline.from_pretrained(tmp_path / "pipe")):
        one, other = (p.encode_prompt("two blue cars") for p in (pipe, direct))
        assert torch.equal(one.features, other.features)
    for read in (lambda: convert([transformer, vae, file], tmp_path / "out"),
                 lambda: InfinityPipeline.from_official(transformer, vae, file)):
        with pytest.raises(ValueError, match=r"text encoder.*64|64.*text encoder"):
            read()
    assert not (tmp_path / "out").exists()

"""Infinity or VAREdit: said by whoever loads a file, kept by what is converted of it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from tests.checkpoints.official_format import official_state
from tests.tiny import tiny_autoencoder, tiny_text_encoder, tiny_tokenizer, tiny_transformer
from toprovar.checkpoints.convert import convert
from toprovar.checkpoints.errors import CheckpointError
from toprovar.checkpoints.families import hints_at_varedit, size_hint
from toprovar.checkpoints.inspect import inspect_checkpoint
from toprovar.checkpoints.load import load_transformer
from toprovar.cli import main
from toprovar.models.config import TransformerConfig
from toprovar.models.variants import default_sampling, get_variant, recognise_variant
from toprovar.pipeline import InfinityPipeline


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Path]:
    """Official files of a small pipeline."""
    folders = {"weights": tiny_transformer(), "vae": tiny_autoencoder(),
               "text": tiny_text_encoder(), "tokenizer": tiny_tokenizer()}
    for name, part in folders.items():
        part.save_pretrained(tmp_path / "own" / name)
    files = {name: tmp_path / f"{name}.pth" for name in ("weights", "vae")}
    for name, file in files.items():
        convert([tmp_path / "own" / name], file)
    return {**files, "text": tmp_path / "own" / "text",
            "tokenizer": tmp_path / "own" / "tokenizer"}


@pytest.mark.parametrize(("name", "hint", "pn"), [
    ("8B-512.pth", True, "0.25M"), ("8B-1024.pth", True, "1M"), ("2B-512.pth", True, "0.25M"),
    ("8b-1024.safetensors", True, "1M"), ("VAREdit_8B.pth", True, None),
    ("var-edit-512x.safetensors", True, "0.25M"), ("infinity_8b_512x512_weights", False, "0.25M"),
    ("infinity_2b_reg.pth", False, None), ("8B-512-mine.pth", False, "0.25M"),
    ("novaredition.pth", False, None),
])
def test_what_names_hint_at(tmp_path: Path, name: str, hint: bool, pn: str | None) -> None:
    assert hints_at_varedit(tmp_path / name) is hint
    assert size_hint(tmp_path / name) == pn
    assert hints_at_varedit(tmp_path / "VAREdit" / name)


def test_a_name_alone_decides_nothing(parts: dict[str, Path], tmp_path: Path) -> None:
    file = parts["weights"].rename(tmp_path / "8B-512.pth")
    with pytest.raises(CheckpointError, match=r"8B-512.pth: its name hints at VAREdit.*say which"
                       r".*family='varedit' or family='infinity'.*--family varedit"):
        load_transformer(file)
    assert load_transformer(file, family="infinity").shape.family == "infinity"
    assert load_transformer(file, family="varedit").shape.edits
    with pytest.raises(ValueError, match="family must be one of infinity, varedit, got 'other'"):
        load_transformer(file, family="other")


def test_a_plain_name_is_infinity_unless_said_otherwise(parts: dict[str, Path]) -> None:
    assert not load_transformer(parts["weights"]).shape.edits
    found = inspect_checkpoint(parts["weights"], family="varedit")
    assert isinstance(found.config, TransformerConfig) and found.config.edits
    assert inspect_checkpoint(parts["vae"], family="varedit").kind == "vae"


def test_a_converted_folder_says_it(parts: dict[str, Path], tmp_path: Path) -> None:
    file = parts["weights"].rename(tmp_path / "8B-512.pth")
    sources = [file, parts["vae"], parts["text"], parts["tokenizer"]]
    with pytest.raises(CheckpointError, match="hints at VAREdit"):
        convert(sources, tmp_path / "none")
    assert not (tmp_path / "none").exists()
    told = convert(sources, tmp_path / "pipe", family="varedit")
    assert told[-1] == f"written: a pipeline folder, {tmp_path / 'pipe'}"
    config = json.loads((tmp_path / "pipe" / "transformer" / "config.json").read_text())
    index = json.loads((tmp_path / "pipe" / "model_index.json").read_text())
    assert config["family"] == "varedit"
    assert (index["default_pn"], index["default_cfg"], index["default_tau"]) == ("0.25M", 3.0, 0.1)
    for pipe in (InfinityPipeline.from_folder(tmp_path / "pipe"),
                 InfinityPipeline.from_pretrained(tmp_path / "pipe")):
        assert pipe.transformer.shape.edits and pipe.config["default_tau"] == 0.1
    other = InfinityPipeline.from_folder(tmp_path / "pipe", family="infinity")
    assert not other.transformer.shape.edits
    told = convert([tmp_path / "pipe"], tmp_path / "back")  # names and shapes are Infinity's again
    assert told[-1].startswith(f"written: official names, {tmp_path / 'back'}; official files do")
    assert "--family varedit" in told[-1]
    assert not load_transformer(tmp_path / "back" / "transformer.pth").shape.edits


def test_a_folder_of_before_is_infinity(tmp_path: Path) -> None:
    tiny_transformer().save_pretrained(tmp_path / "t")
    file = tmp_path / "t" / "config.json"
    config = json.loads(file.read_text())
    del config["family"]
    file.write_text(json.dumps(config))
    assert not load_transformer(tmp_path / "t").shape.edits
    assert load_transformer(tmp_path / "t", family="varedit").shape.edits
    file.write_text(json.dumps({**config, "family": "another"}))
    with pytest.raises(CheckpointError, match="family must be one of infinity, varedit"):
        load_transformer(tmp_path / "t")


def test_official_files_in_a_pipeline(parts: dict[str, Path], tmp_path: Path) -> None:
    file = parts["weights"].rename(tmp_path / "2B-512.pth")
    pipe = InfinityPipeline.from_official(file, parts["vae"], parts["text"],
                                          tokenizer=parts["tokenizer"], family="varedit")
    assert pipe.config["default_pn"] == "0.25M" and pipe.config["default_tau"] == 0.1
    own = InfinityPipeline.from_official(file, parts["vae"], parts["text"],
                                         tokenizer=parts["tokenizer"], family="varedit",
                                         default_pn="0.06M", default_tau=0.7)
    assert own.config["default_pn"] == "0.06M" and own.config["default_tau"] == 0.7


def test_known_models() -> None:
    sizes = {"varedit-8b": "1M", "varedit-8b-512": "0.25M", "varedit-2b-512": "0.25M"}
    for name, pn in sizes.items():
        variant = get_variant(name)
        assert (variant.cfg, variant.tau, variant.pn) == (3.0, 0.1, pn) and variant.config.edits
        twin = dataclasses.replace(variant.config, family="infinity")
        assert recognise_variant(twin) == ("2b" if "2b" in name else "8b")
    assert recognise_variant(get_variant("varedit-8b-512").config) == "varedit-8b"
    assert default_sampling(get_variant("varedit-8b").config)["default_tau"] == 0.1
    assert default_sampling(TransformerConfig(2, 32, 1, 4)) == {}
    odd = TransformerConfig(2, 32, 1, 4, family="varedit")
    assert default_sampling(odd) == {"default_cfg": 3.0, "default_tau": 0.1}


def test_the_command_line_asks(parts: dict[str, Path], tmp_path: Path,
                               capsys: pytest.CaptureFixture[str]) -> None:
    file = parts["weights"].rename(tmp_path / "8B-1024.pth")
    call = ["convert", str(file), str(parts["vae"]), str(tmp_path / "pipe")]
    assert main(call) == 2
    assert "--family varedit or --family infinity" in capsys.readouterr().err
    assert main([*call, "--family", "varedit"]) == 0
    assert InfinityPipeline.from_folder(tmp_path / "pipe").transformer.shape.edits


def test_the_official_state_is_unchanged_by_the_family(tmp_path: Path) -> None:
    import torch

    torch.save(official_state(), tmp_path / "a.pth")
    plain, own = (load_transformer(tmp_path / "a.pth", family=f) for f in ("infinity", "varedit"))
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), own.parameters(), strict=True))

"""Pipeline folders as diffusers loads them: checked, and in variants."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from safetensors.torch import load_file, save_file

from tests.tiny import tiny_pipeline
from toprovar.checkpoints import CheckpointError, load_autoencoder
from toprovar.pipeline import InfinityPipeline

PLAIN = {"transformer": "diffusion_pytorch_model.safetensors",
         "vae": "diffusion_pytorch_model.safetensors", "text_encoder": "model.safetensors"}
WAYS = (InfinityPipeline.from_pretrained, DiffusionPipeline.from_pretrained)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    tiny_pipeline().save_pretrained(tmp_path / "pipe", safe_serialization=True)
    return tmp_path / "pipe"


def change(file: Path, edit: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file, {"format": "pt"})


def make_nan(tensors: dict[str, torch.Tensor]) -> None:
    largest = max(tensors.values(), key=torch.Tensor.numel)
    largest.view(-1)[largest.numel() // 2] = float("nan")


@pytest.mark.parametrize("load", WAYS)
@pytest.mark.parametrize("part, edit, message", [
    *((part, make_nan, "no numbers") for part in PLAIN),
    *((part, lambda tensors: tensors.popitem(), "missing") for part in PLAIN),
    ("transformer", lambda tensors: tensors.update(more=torch.zeros(1)), "'more': unexpected"),
    ("vae", lambda tensors: tensors.update(
        {"decoder.conv_out.bias": torch.zeros(7)}), "wrong shape"),
])
def test_weights_are_checked(saved: Path, load: Any, part: str, edit: Any, message: str) -> None:
    change(saved / part / PLAIN[part], edit)
    with pytest.raises(CheckpointError, match=message) as error:
        load(saved, local_files_only=True)
    assert str(saved / part) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("load", WAYS)
def test_tokenizers_are_checked(saved: Path, load: Any) -> None:
    file = saved / "tokenizer" / "tokenizer.json"
    file.write_text(file.read_text()[:-100])
    with pytest.raises(CheckpointError, match="tokenizer cannot be read"):
        load(saved, local_files_only=True)
    shutil.rmtree(saved / "tokenizer")
    with pytest.raises(CheckpointError, match="no tokenizer"):
        load(saved, local_files_only=True)


@pytest.mark.parametrize("library", ["evil", "toprovar.models.transformer", "os"])
@pytest.mark.parametrize("part", [*PLAIN, "tokenizer"])
def test_an_index_that_names_other_code(saved: Path, library: str, part: str) -> None:
    """diffusers 0.35 runs a file that a folder brings along under the name of the library."""
    index = json.loads((saved / "model_index.json").read_text())
    index[part] = [library, "Evil"]
    (saved / "model_index.json").write_text(json.dumps(index))
    assert type(InfinityPipeline.from_pretrained(saved)) is InfinityPipeline
    code = saved / part / f"{library}.py"
    code.write_text(f"open({str(saved / 'run')!r}, 'w')\nclass Evil: pass\n")
    loaded = DiffusionPipeline.from_pretrained(saved, local_files_only=True)
    assert type(loaded) is InfinityPipeline and not (saved / "run").exists()
    with pytest.raises(CheckpointError, match="never run; remove") as error:
        InfinityPipeline.from_pretrained(saved)
    assert str(code) in str(error.value) and not (saved / "run").exists()


def test_code_for_the_whole_pipeline_is_refused(saved: Path) -> None:
    (saved / "None.py").write_text(f"open({str(saved / 'run')!r}, 'w')\n")
    with pytest.raises(CheckpointError, match=r"None\.py: .*never run"):
        InfinityPipeline.from_pretrained(saved)
    assert not (saved / "run").exists()


def test_what_is_given_is_not_loaded(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    own = tiny_pipeline()
    for part in ("transformer", "text_encoder", "tokenizer"):
        shutil.rmtree(saved / part)
    with caplog.at_level(logging.WARNING, "diffusers"):
        loaded = InfinityPipeline.from_pretrained(
            saved, transformer=own.transformer, text_encoder=None, tokenizer=own.tokenizer)
    assert loaded.transformer is own.transformer and loaded.text_encoder is None
    assert loaded.tokenizer is own.tokenizer and "non-standard" not in caplog.text


def both_variants(saved: Path) -> None:
    """A second set of weights, all zeros, as the variant fp16."""
    for part, name in PLAIN.items():
        zeros = {k: torch.zeros_like(x) for k, x in load_file(saved / part / name).items()}
        save_file(zeros, saved / part / name.replace(".safe", ".fp16.safe"), {"format": "pt"})


def weights(pipeline: Any) -> list[float]:
    parts = (pipeline.transformer.blocks[0].ffn.fc1.weight, pipeline.vae.decoder.conv_in.weight,
             pipeline.text_encoder.shared.weight)
    return [float(part.detach().abs().sum()) for part in parts]


@pytest.mark.parametrize("load", [*WAYS, InfinityPipeline.from_folder])
def test_variants(saved: Path, load: Any) -> None:
    both_variants(saved)
    assert all(weights(load(saved))) and not any(weights(load(saved, variant="fp16")))
    for part, name in PLAIN.items():  # the only one there is
        (saved / part / name).unlink()
    assert not any(weights(load(saved, variant="fp16")))
    with pytest.raises(ValueError, match="variant"):
        load(saved, variant="bf16")


def test_from_folder_of_the_only_variant(saved: Path) -> None:
    both_variants(saved)
    for part, name in PLAIN.items():
        (saved / part / name).unlink()
    assert not any(weights(InfinityPipeline.from_folder(saved)))


@pytest.mark.parametrize("part", PLAIN)
def test_a_part_without_the_variant_is_named(saved: Path, part: str) -> None:
    both_variants(saved)
    lost = saved / part / PLAIN[part].replace(".safe", ".fp16.safe")
    lost.unlink()
    with pytest.raises(CheckpointError) as error:
        InfinityPipeline.from_folder(saved, variant="fp16")
    told = str(error.value)
    assert told.startswith(f"{saved / part}: no weights of the variant 'fp16'")
    assert lost.name in told and PLAIN[part] in told


def test_a_variant_in_shards(saved: Path) -> None:
    own = tiny_pipeline()
    own.vae.save_pretrained(saved / "vae", variant="fp16", max_shard_size="100KB")
    names = {p.name for p in (saved / "vae").iterdir()}
    assert "diffusion_pytorch_model.safetensors.index.fp16.json" in names
    change(saved / "vae" / PLAIN["vae"], lambda tensors: [x.zero_() for x in tensors.values()])
    loaded = load_autoencoder(saved / "vae", variant="fp16").state_dict()
    assert all(torch.equal(x, loaded[name]) for name, x in own.vae.state_dict().items())
    assert not any(x.any() for x in load_autoencoder(saved / "vae").state_dict().values())


def test_odd_variants(saved: Path) -> None:
    with pytest.raises(TypeError, match=r"variant must be a name such as 'fp16', got 16"):
        InfinityPipeline.from_folder(saved, variant=16)  # type: ignore[arg-type]  # the test
    with pytest.raises(CheckpointError, match="not a folder, so it has no variant 'fp16'"):
        load_autoencoder(saved / "vae" / PLAIN["vae"], variant="fp16")
    for name in ("", "../x", "*"):
        with pytest.raises(CheckpointError, match="no weights of the variant"):
            InfinityPipeline.from_folder(saved, variant=name)

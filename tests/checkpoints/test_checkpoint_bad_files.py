"""Wrong, truncated and mixed-up files: one clear line, nothing left behind."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.checkpoints.official_format import State, official_state, official_vae, write_shards
from tests.checkpoints.refusal import refused, save
from toprovar.checkpoints import (
    CheckpointError,
    convert,
    load_autoencoder,
    load_transformer,
)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def truncated(make: Callable[[Path], Path], keep: float) -> Callable[[Path], Path]:
    def cut(path: Path) -> Path:
        content = make(path).read_bytes()
        return write(path, content[: int(len(content) * keep)])

    return cut


def pth(path: Path) -> Path:
    return save(path, official_state())


def legacy(path: Path) -> Path:
    torch.save(official_state(), path, _use_new_zipfile_serialization=False)
    return path


def safetensors(path: Path) -> Path:
    save_file(official_state(), path)
    return path


def text_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<x/>")
    return path


FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "pth cut": (truncated(pth, 0.6), "truncated or damaged"),
    "pth almost whole": (truncated(pth, 0.999), "truncated or damaged"),
    "legacy cut": (truncated(legacy, 0.6), "truncated, damaged"),
    "safetensors cut": (truncated(safetensors, 0.6), "truncated or damaged"),
    "safetensors header cut": (truncated(safetensors, 0.001), "truncated or damaged"),
    "random": (lambda p: write(p, bytes(range(7, 200)) * 40), "not a checkpoint"),
    "random like a pickle": (lambda p: write(p, b"\x80\x02" + b"\x17\xf3" * 99), "not a PyTorch"),
    "empty": (lambda p: write(p, b""), "the file is empty"),
    "page": (lambda p: write(p, b"\n<!DOCTYPE html><html>404</html>"), "web page"),
    "lfs": (lambda p: write(p, b"version https://git-lfs.github.com/spec/v1\n"), "Git LFS"),
    "gguf": (lambda p: write(p, b"GGUF\x03\0\0\0" + bytes(40)), "GGUF"),
    "document": (text_zip, "not a PyTorch checkpoint (no data.pkl)"),
    "list": (lambda p: save(p, [torch.ones(2)]), "expected a dictionary"),
    "no tensors": (lambda p: save(p, {"epoch": 1, "note": "x"}), "holds no tensors"),
}


@pytest.mark.parametrize("case", FILES)
def test_files_that_are_no_checkpoint(case: str, tmp_path: Path) -> None:
    make, part = FILES[case]
    refused(make(tmp_path / "model.pth"), "model.pth", part)


def test_paths_that_hold_nothing(tmp_path: Path) -> None:
    refused(tmp_path / "missing.pth", "missing.pth", "no such file")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", "a folder without weights")
    (tmp_path / "folder" / "notes.txt").write_text("x")
    refused(tmp_path / "folder", "a folder without weights", "found notes.txt")
    for name in ("a.pth", "b.pth"):
        pth(tmp_path / "folder" / name)
    refused(tmp_path / "folder", "several weight files", "a.pth, b.pth")


OTHERS = {
    "T5": ("encoder.block.0.layer.0.SelfAttention.q.weight", "T5 text encoder"),
    "SD": ("model.diffusion_model.input_blocks.0.0.weight", "Stable Diffusion checkpoint"),
    "LoRA": ("transformer.blocks.0.ffn.fc1.lora_A.weight", "LoRA"),
    "UNet": ("down_blocks.0.resnets.0.conv1.weight", "UNet"),
    "Flux": ("double_blocks.0.img_attn.qkv.weight", "Flux"),
    "optimizer": ("state.0.exp_avg", "optimizer state"),
    "VAR": ("blocks.0.attn.mat_qkv.weight", "VAR model"),
    "unknown": ("layer1.weight", "not an Infinity transformer or VAE"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_models_are_named(case: str, tmp_path: Path) -> None:
    key, part = OTHERS[case]
    refused(save(tmp_path / "infinity_2b_reg.pth", {key: torch.ones(2, 2)}), part, key)


def test_stable_diffusion_autoencoder(tmp_path: Path) -> None:
    state = official_vae(wrapped=False)
    state["encoder.mid.attn_1.q.weight"] = torch.ones(64, 64, 1, 1)
    refused(save(tmp_path / "vae.pth", state), "Stable Diffusion autoencoder")


KEY = "block_chunks.1.module.0.sa.mat_qkv.weight"


def changed(state: State, key: str, shape: tuple[int, ...]) -> State:
    return {**state, key: torch.zeros(shape)}


@pytest.mark.parametrize("key, shape, expected", [
    (KEY, (190, 64), "[192, 64]"),
    ("block_chunks.0.module.0.sa.q_bias", (32,), "[64]"),
    ("pos_start", (1, 64), "[1, 1, 64]"),
    ("word_embed.bias", (63,), "[64]"),
    ("head.weight", (18, 64), "[16, 64]"),
    ("lvl_embed.weight", (15, 32), "[15, 64]"),
    ("block_chunks.0.module.1.ffn.fc2.weight", (64, 100), "[64, 256]"),
    ("text_proj_for_ca.0.weight", (64, 128), "[64, 256]"),
])
def test_wrong_shape_names_the_tensor(
    key: str, shape: tuple[int, ...], expected: str, tmp_path: Path
) -> None:
    path = save(tmp_path / "a.pth", changed(official_state(), key, shape))
    error = refused(path, f"key '{key}'", "wrong shape", f"expected {expected}",
                    f"found {list(shape)}")
    assert error.key == key and error.found == shape


@pytest.mark.parametrize("key", [
    KEY, "cfg_uncond", "pos_start", "lvl_embed.weight", "word_embed.weight", "head.bias",
    "block_chunks.0.module.0.sa.scale_mul_1H11", "text_proj_for_sos.ca.mat_q",
])
def test_missing_tensor_is_named(key: str, tmp_path: Path) -> None:
    state = official_state()
    del state[key]
    assert refused(save(tmp_path / "a.pth", state), "missing").key == key


def test_missing_block_and_missing_tail(tmp_path: Path) -> None:
    state = official_state()
    gap = {k: v for k, v in state.items() if not k.startswith("block_chunks.0.module.1.")}
    refused(save(tmp_path / "gap.pth", gap), "'block_chunks.0.module.1.ada_gss'", "missing",
            "more; the rest looks like a transformer of 4 blocks")
    tail = {k: v for k, v in state.items() if not k.startswith("block_chunks.1.module.1.")}
    refused(save(tmp_path / "tail.pth", tail), "'block_chunks.1.module.1.ada_gss'", "missing")


def test_unexpected_and_doubled_tensors(tmp_path: Path) -> None:
    state = official_state()
    refused(save(tmp_path / "a.pth", {**state, "adapter.weight": torch.ones(3)}),
            "key 'adapter.weight': unexpected", "found [3]")
    refused(save(tmp_path / "b.pth", {**state, "null_text": state["cfg_uncond"]}),
            "two names for one tensor")
    extra = {**official_vae(), "decoder.mid.block_3.conv1.conv.weight": torch.ones(1)}
    refused(save(tmp_path / "c.pth", extra), "'decoder.mid.block_3.conv1.conv.weight'",
            "unexpected")


def test_wrong_dtype(tmp_path: Path) -> None:
    state = official_state()
    state[KEY] = state[KEY].to(torch.int8)
    refused(save(tmp_path / "a.pth", state), f"'{KEY}'", "wrong dtype", "found int8")


def test_mixed_up_models(tmp_path: Path) -> None:
    small, large = official_state(width=64), official_state(width=128)
    mixed = {k: (large if k.startswith("text_proj") else small)[k] for k in small}
    refused(save(tmp_path / "a.pth", mixed), "text_proj_for_sos.ca.mat_q", "more")
    both = save(tmp_path / "b.pth", {**small, **official_vae()})
    refused(both, "mixes a transformer and a VAE")


def test_vae_problems(tmp_path: Path) -> None:
    state = official_vae()
    key = "decoder.conv_in.conv.weight"
    refused(save(tmp_path / "a.pth", {"vae": changed(state, key, (64, 4, 3, 3))}),
            f"'{key}'", "expected [64, 8, 3, 3]", "found [64, 4, 3, 3]")
    refused(save(tmp_path / "b.pth", {"vae": {k: v for k, v in state.items() if "decoder" not in k}
                                      }), "'decoder.conv_in.conv.weight': missing", "more")
    odd = changed(state, "encoder.conv_in.conv.weight", (32, 5, 3, 3))
    refused(save(tmp_path / "c.pth", {"vae": odd}), "RGB", "5 channels")


def test_shards(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "a", official_state())
    (folder / "model-00002-of-00003.safetensors").unlink()
    refused(folder, "shard model-00002-of-00003.safetensors is missing")
    folder = write_shards(tmp_path / "b", official_state())
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"][KEY] = "model-00001-of-00003.safetensors"
    index.write_text(json.dumps(content))
    refused(folder, "model-00001-of-00003.safetensors: key '" + KEY, "in this shard")
    content["weight_map"] = {}
    index.write_text(json.dumps(content))
    refused(folder, "weight_map")
    index.write_text("{broken")
    refused(folder, "not valid JSON")
    other = write_shards(tmp_path / "c", official_state())
    name = "model-00003-of-00003.safetensors"
    write(other / name, (other / name).read_bytes()[:-50])
    refused(other, name, "truncated or damaged")


def test_folder_whose_config_does_not_fit(tmp_path: Path) -> None:
    convert([save(tmp_path / "t", official_state())], tmp_path / "pipe")
    file = tmp_path / "pipe/transformer/config.json"
    good = json.loads(file.read_text())
    for change, parts in (
        ({"width": 128}, ("key 'width'", "expected 64", "found 128")),
        ({"depth": 10**9}, ("key 'depth'", "expected 4", "found 1000000000")),
        ({"depth": "four"}, ("not a valid configuration",)),
        ({"colour": 1}, ("unknown entry", "colour")),
        ({"_class_name": "InfinityAutoencoder"}, ("unknown entry",)),
    ):
        file.write_text(json.dumps({**good, **change}))
        refused(tmp_path / "pipe/transformer", "config.json", *parts)
    file.write_text(json.dumps(good))
    load_transformer(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="the pipeline has no vae"):
        load_autoencoder(tmp_path / "pipe")

"""Every layout loads to the same weights, whatever the file is called."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.checkpoints.official_format import (
    State,
    assert_same,
    fixtures,
    official_state,
    official_vae,
    write_shards,
)
from toprovar.checkpoints import (
    CheckpointError,
    inspect_checkpoint,
    load_autoencoder,
    load_transformer,
)
from toprovar.checkpoints.keys import autoencoder_official, lfq_mask, transformer_official

OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1e-4}]}


def flat(path: Path, state: State) -> Path:
    torch.save(state, path)
    return path


def nested(*names: str) -> Callable[[Path, State], Path]:
    def write(path: Path, state: State) -> Path:
        content: object = state
        for name in reversed(names):
            content = {name: content, "optimizer": OPTIMIZER, "epoch": 3, "note": "text"}
        torch.save(content, path)
        return path

    return write


def prefixed(prefix: str) -> Callable[[Path, State], Path]:
    return lambda path, state: flat(path, {prefix + k: v for k, v in state.items()})


def legacy(path: Path, state: State) -> Path:
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return path


def as_safetensors(path: Path, state: State) -> Path:
    save_file(state, path)
    return path


def sharded(suffix: str, by_index: bool = False) -> Callable[[Path, State], Path]:
    def write(path: Path, state: State) -> Path:
        folder = write_shards(path.with_suffix(""), state, suffix)
        return next(folder.glob("*.index.json")) if by_index else folder

    return write


def folder_with_one_file(path: Path, state: State) -> Path:
    path.with_suffix("").mkdir()
    torch.save(state, path.with_suffix("") / "weights.bin")
    return path.with_suffix("")


LAYOUTS = {
    "flat": flat,
    "legacy": legacy,
    "trainer": nested("trainer", "gpt_fsdp"),
    "gpt_fsdp": nested("gpt_fsdp"),
    "trainer without shards": nested("trainer", "gpt_wo_ddp"),
    "merged adapter": prefixed("base_model.model."),
    "saved in ComfyUI": prefixed("model.diffusion_model."),
    "state_dict": nested("state_dict"),
    "model": nested("model"),
    "module prefix": prefixed("module."),
    "compiled prefix": prefixed("_orig_mod."),
    "two prefixes": prefixed("gpt._orig_mod."),
    "safetensors": as_safetensors,
    "sharded": sharded("safetensors"),
    "sharded bin": sharded("bin"),
    "index": sharded("safetensors", by_index=True),
    "folder": folder_with_one_file,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_transformer_layouts(layout: str, tmp_path: Path) -> None:
    state = official_state(depth=4, chunks=2)
    path = LAYOUTS[layout](tmp_path / "infinity_vae_d16.pth", state)  # a name that says nothing
    model = load_transformer(path)
    assert model.shape.depth == 4 and model.shape.block_chunks == 2
    found = {transformer_official(k, 4, 2): v for k, v in model.state_dict().items()}
    assert_same(found, state)
    assert not any(t.is_meta for t in model.state_dict().values())
    assert not model.training


@pytest.mark.parametrize("layout", ["flat", "legacy", "safetensors", "sharded", "vae", "unwrapped"])
def test_autoencoder_layouts(layout: str, tmp_path: Path) -> None:
    write = {"vae": nested("vae"), "unwrapped": nested("vae")}.get(layout) or LAYOUTS[layout]
    state = official_vae(wrapped=layout != "unwrapped")
    path = write(tmp_path / "infinity_2b_reg.pth", state)
    model = load_autoencoder(path)
    assert model.shape.stride == 4 and model.shape.channel_multipliers == (1, 1, 2)
    canonical = official_vae()
    found = {autoencoder_official(k): v for k, v in model.state_dict().items()}
    assert_same(found, {k: v for k, v in canonical.items() if not k.endswith("mask")})


def test_blocks_without_chunks(tmp_path: Path) -> None:
    state = official_state(chunks=1)
    model = load_transformer(flat(tmp_path / "a.pth", state))
    assert model.shape.block_chunks == 1
    assert_same({transformer_official(k, 4, 1): v for k, v in model.state_dict().items()}, state)


def test_ema_only_on_request(tmp_path: Path) -> None:
    plain, averaged = official_vae(seed=1), official_vae(seed=2)
    for path in (tmp_path / "nested.pth", tmp_path / "dotted.safetensors"):
        if path.suffix == ".pth":
            torch.save({"vae": plain, "ema": averaged, "step": 7}, path)
        else:
            save_file({f"{p}.{k}": v for p, s in (("vae", plain), ("ema", averaged))
                       for k, v in s.items()}, path)
        key = "encoder.conv_in.weight"
        official = "encoder.conv_in.conv.weight"
        assert torch.equal(load_autoencoder(path).state_dict()[key], plain[official])
        assert torch.equal(load_autoencoder(path, ema=True).state_dict()[key], averaged[official])
    torch.save({"vae": plain}, tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="no averaged weights"):
        load_autoencoder(tmp_path / "none.pth", ema=True)
    torch.save({"ema": averaged}, tmp_path / "only.pth")
    with pytest.raises(CheckpointError, match="averaged weights only"):
        load_autoencoder(tmp_path / "only.pth")


@pytest.mark.parametrize("plain, averaged", [
    ("gpt_fsdp", "gpt_ema_fsdp"), ("gpt_wo_ddp", "gpt_ema_for_vis"),
])
def test_training_files_as_the_official_trainer_writes_them(
    plain: str, averaged: str, tmp_path: Path
) -> None:
    states = {plain: official_state(seed=1), averaged: official_state(seed=2)}
    trainer = {"config": {"prog_it": 0}, "vae_local": official_vae(), **states,
               "gpt_opt": {"optimizer": OPTIMIZER}}
    torch.save({"args": {"model": "x"}, "trainer": trainer}, tmp_path / "a.pth")
    for ema, name in ((False, plain), (True, averaged)):
        found = inspect_checkpoint(tmp_path / "a.pth", ema=ema)
        key = found.names["null_text"]
        assert torch.equal(found.source.get(key), states[name]["cfg_uncond"])
    torch.save({"trainer": {averaged: states[averaged]}}, tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match="averaged weights only"):
        load_transformer(tmp_path / "b.pth")


def test_adapters_are_named(tmp_path: Path) -> None:
    state = {f"base_model.model.{k}": v for k, v in official_state().items()}
    state["base_model.model.blocks.0.sa.proj.lora_A.default.weight"] = torch.ones(2, 2)
    with pytest.raises(CheckpointError, match="a LoRA"):
        load_transformer(flat(tmp_path / "a.pth", state))


def test_weights_of_other_frameworks_are_passed_over(tmp_path: Path) -> None:
    state = official_state()
    folder = write_shards(tmp_path / "model", state, "bin")
    for name in ("tf_model.h5", "flax_model.msgpack"):
        (folder / f"{name}.index.json").write_text('{"weight_map": {"a": "b.h5"}}')
        (folder / name).write_bytes(b"x")
    assert torch.equal(load_transformer(folder).null_text, state["cfg_uncond"])


def test_unused_tensors_of_a_vae_are_ignored_with_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = official_vae()
    torch.save({"vae": {**state, "discriminator.main.0.weight": torch.ones(2)}}, tmp_path / "v")
    with caplog.at_level(logging.INFO, logger="toprovar"):
        load_autoencoder(tmp_path / "v")
    assert "discriminator" in caplog.text and "ignored" in caplog.text


def test_dead_buffers_of_a_transformer_are_ignored(tmp_path: Path) -> None:
    state = official_state()
    state["lvl_1L"] = torch.zeros(1, 21, dtype=torch.int64)
    del state["block_chunks.1.module.0.ca.zero_k_bias"]
    model = load_transformer(flat(tmp_path / "a.pth", state))
    assert not model.state_dict()["blocks.2.cross_attn.zero_k_bias"].any()


def test_null_text_keeps_the_rows_of_the_file(tmp_path: Path) -> None:
    model = load_transformer(flat(tmp_path / "a.pth", official_state(text_rows=77)))
    assert model.shape.text_max_length == 77 and model.null_text.shape[0] == 77


def test_stem_patch_is_seen_in_the_first_convolution(tmp_path: Path) -> None:
    model = load_autoencoder(flat(tmp_path / "v.pth", official_vae(image_channels=12)))
    assert (model.shape.stem_patch, model.shape.stride) == (2, 8)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_precision_is_for_the_blocks(half: torch.dtype, tmp_path: Path) -> None:
    state = official_state()
    model = load_transformer(flat(tmp_path / "a.pth", state), half)
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == (half if name.startswith("blocks.") else torch.float32), name
    assert model.compute_dtype == half
    expected = state["block_chunks.0.module.0.ffn.fc1.weight"].to(half)
    assert torch.equal(model.state_dict()["blocks.0.ffn.fc1.weight"], expected)
    narrow = load_transformer(flat(tmp_path / "b.pth", official_state(dtype=half)), half)
    assert narrow.state_dict()["head.weight"].dtype == torch.float32
    kept = load_transformer(tmp_path / "b.pth")
    assert {t.dtype for t in kept.state_dict().values()} == {half}
    wide = load_transformer(tmp_path / "b.pth", torch.float32)
    assert {t.dtype for t in wide.state_dict().values()} == {torch.float32}


def test_patchify_can_be_said(tmp_path: Path) -> None:
    path = flat(tmp_path / "a.pth", official_state(bits=8))
    assert not load_transformer(path).shape.spatial_patchify
    assert load_transformer(path, patchify=True).shape.latent_channels == 2
    path = flat(tmp_path / "b.pth", official_state(bits=56))
    assert load_transformer(path).shape.spatial_patchify
    assert not load_transformer(path, patchify=False).shape.spatial_patchify


def test_patchify_follows_the_vae(tmp_path: Path) -> None:
    path = flat(tmp_path / "a.pth", official_state(bits=32))
    assert load_transformer(path, vae_channels=8).shape.spatial_patchify
    assert not load_transformer(path, vae_channels=32).shape.spatial_patchify
    with pytest.raises(CheckpointError, match="32 bits a token, the VAE has 16 channels"):
        load_transformer(path, vae_channels=16)
    with pytest.raises(CheckpointError, match="patchify asked for"):
        load_transformer(path, vae_channels=8, patchify=False)


def test_loading_the_wrong_kind(tmp_path: Path) -> None:
    path = flat(tmp_path / "a.pth", official_vae())
    with pytest.raises(CheckpointError, match="expected an Infinity transformer, found a VAE"):
        load_transformer(path)


def test_fixture_models() -> None:
    family = fixtures() / "infinity_2b_like"
    found = inspect_checkpoint(family / "weights.safetensors")
    assert (found.kind, found.official) == ("transformer", True)
    vae = load_autoencoder(family / "vae.safetensors")
    assert (vae.shape.base_channels, vae.shape.stride) == (32, 16)
    masks = load_file(family / "vae.safetensors")
    for name in ("quantizer.lfq.mask", "quantize.lfq.mask"):
        assert_same({"mask": masks[name]}, {"mask": lfq_mask(32)})


def test_mask_of_64_bits_wraps_as_int64_does() -> None:
    mask = lfq_mask(64)
    assert mask[0] == -(2**63) and mask[1] == 2**62 and mask[-1] == 1


def test_weights_on_cpu_are_views_of_the_file(tmp_path: Path) -> None:
    """Writing to a loaded model leaves the file alone."""
    path = flat(tmp_path / "a.pth", official_state())
    before = path.read_bytes()
    model = load_transformer(path)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    assert path.read_bytes() == before
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)

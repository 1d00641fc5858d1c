"""Official -> diffusers folder -> official: the same names, dtypes and bits."""

from __future__ import annotations

import json
from dataclasses import asdict
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
    read_official,
    write_shards,
)
from toprovar.checkpoints import (
    CheckpointError,
    convert,
    inspect_checkpoint,
    load_autoencoder,
    load_transformer,
)
from toprovar.checkpoints.text_shape import TextShape


def save(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def write_source(path: Path, state: State, layout: str) -> Path:
    if layout == "safetensors":
        save_file(state, path)
        return path
    if layout == "sharded":
        return write_shards(path, state)
    if layout == "sharded bin":
        return write_shards(path, state, "bin")
    content = {"trainer": {"gpt_fsdp": state}} if layout == "nested" else state
    torch.save(content, path, _use_new_zipfile_serialization=layout != "legacy")
    return path


def listing(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


@pytest.mark.parametrize(
    "layout", ["flat", "nested", "legacy", "safetensors", "sharded", "sharded bin"]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_round_trip(layout: str, dtype: torch.dtype, tmp_path: Path) -> None:
    state, vae = official_state(dtype=dtype), official_vae(dtype=dtype)
    sources = [write_source(tmp_path / "t", state, layout), save(tmp_path / "v", {"vae": vae})]
    convert(sources, tmp_path / "pipe", max_shard_bytes=100_000)
    assert (tmp_path / "pipe/transformer/diffusion_pytorch_model.safetensors.index.json").is_file()
    convert([tmp_path / "pipe"], tmp_path / "whole")
    convert([tmp_path / "pipe"], tmp_path / "shards", max_shard_bytes=100_000)
    convert([tmp_path / "pipe/transformer"], tmp_path / "t.safetensors")
    convert([tmp_path / "pipe/transformer"], tmp_path / "t.pth")
    convert([tmp_path / "pipe/vae"], tmp_path / "v.safetensors")
    convert([tmp_path / "pipe/vae"], tmp_path / "v.pth")
    for name in ("whole/transformer.pth", "shards/transformer", "t.safetensors", "t.pth"):
        assert_same(read_official(tmp_path / name), state)
    for name in ("whole/vae.pth", "shards/vae.pth", "v.safetensors", "v.pth"):
        assert_same(read_official(tmp_path / name), vae)
    assert set(torch.load(tmp_path / "v.pth", weights_only=True)) == {"vae"}


def test_layout_of_the_folder(tmp_path: Path) -> None:
    sources = [save(tmp_path / "t", official_state()), save(tmp_path / "v", official_vae())]
    seen: list[tuple[int, int]] = []
    done = convert(sources, tmp_path / "pipe", progress=lambda a, b: seen.append((a, b)))
    assert [line.partition(":")[0] for line in done] == ["transformer", "vae", "written"]
    assert "4 blocks" in done[0] and "8 channels" in done[1]
    assert listing(tmp_path / "pipe") == {
        "model_index.json", "transformer", "transformer/config.json",
        "transformer/diffusion_pytorch_model.safetensors", "vae", "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    }
    index = json.loads((tmp_path / "pipe/model_index.json").read_text())
    assert index["_class_name"] == "InfinityPipeline"
    assert index["transformer"] == ["toprovar.models.transformer", "InfinityTransformer"]
    assert index["vae"] == ["toprovar.models.autoencoder", "InfinityAutoencoder"]
    assert index["text_encoder"] == index["tokenizer"] == [None, None]
    assert seen[-1][0] == seen[-1][1] > 0
    assert [a for a, _ in seen] == sorted(a for a, _ in seen)


def test_diffusers_itself_loads_the_folder(tmp_path: Path) -> None:
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    state, vae = official_state(), official_vae()
    convert([save(tmp_path / "t", state), save(tmp_path / "v", vae)], tmp_path / "pipe",
            max_shard_bytes=100_000)

    class InfinityPipeline(DiffusionPipeline):
        _optional_components = ["text_encoder", "tokenizer"]  # noqa: RUF012  # as diffusers declares it

        def __init__(self, transformer, vae, text_encoder=None, tokenizer=None) -> None:
            super().__init__()
            self.register_modules(
                transformer=transformer, vae=vae, text_encoder=text_encoder, tokenizer=tokenizer
            )

    pipe = InfinityPipeline.from_pretrained(str(tmp_path / "pipe"))
    ours = load_transformer(tmp_path / "pipe")
    assert_same(pipe.transformer.state_dict(), ours.state_dict())
    assert_same(pipe.vae.state_dict(), load_autoencoder(tmp_path / "pipe/vae").state_dict())
    half = type(ours).from_pretrained(
        str(tmp_path / "pipe/transformer"), torch_dtype=torch.bfloat16
    )
    assert_same(half.state_dict(), load_transformer(tmp_path / "pipe", torch.bfloat16).state_dict())


def test_what_diffusers_saves_is_read(tmp_path: Path) -> None:
    state = official_state()
    model = load_transformer(save(tmp_path / "t", state))
    model.save_pretrained(str(tmp_path / "saved"), max_shard_size="100KB")
    again = load_transformer(tmp_path / "saved")
    assert again.shape == model.shape
    convert([tmp_path / "saved"], tmp_path / "t.pth")
    assert_same(read_official(tmp_path / "t.pth"), state)


def test_bare_file_with_our_names(tmp_path: Path) -> None:
    model = load_transformer(save(tmp_path / "t", official_state(chunks=1)))
    save_file(dict(model.state_dict()), tmp_path / "ours.safetensors")
    assert not inspect_checkpoint(tmp_path / "ours.safetensors").official
    assert_same(load_transformer(tmp_path / "ours.safetensors").state_dict(), model.state_dict())


def test_the_older_spelling_becomes_the_canonical_one(tmp_path: Path) -> None:
    old = save(tmp_path / "v", {"vae": official_vae(wrapped=False, masks=False)})
    convert([old], tmp_path / "v.safetensors")
    assert_same(read_official(tmp_path / "v.safetensors"), official_vae())


def test_an_unusual_mask_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = official_vae()
    state["quantizer.lfq.mask"] = state["quantizer.lfq.mask"] + 1
    convert([save(tmp_path / "v", state)], tmp_path / "v.safetensors")
    assert "quantizer.lfq.mask is not the usual constant" in caplog.text
    assert_same(read_official(tmp_path / "v.safetensors"), official_vae())


def test_averaged_weights(tmp_path: Path) -> None:
    plain, averaged = official_vae(seed=1), official_vae(seed=2)
    both = save(tmp_path / "v", {"vae": plain, "ema": averaged})
    transformer = save(tmp_path / "t", official_state())
    convert([both], tmp_path / "plain.pth")
    convert([both, transformer], tmp_path / "pipe", ema=True)
    assert_same(read_official(tmp_path / "plain.pth"), plain)
    convert([tmp_path / "pipe/vae"], tmp_path / "ema.pth")
    assert_same(read_official(tmp_path / "ema.pth"), averaged)
    with pytest.raises(CheckpointError, match="no averaged weights"):
        convert([tmp_path / "plain.pth"], tmp_path / "no.pth", ema=True)
    assert not (tmp_path / "no.pth").exists()


def test_the_vae_decides_about_patchify(tmp_path: Path) -> None:
    transformer = save(tmp_path / "t", official_state(bits=32))
    vae = save(tmp_path / "v", official_vae(channels=8))
    convert([transformer, vae], tmp_path / "pipe")
    model = load_transformer(tmp_path / "pipe")
    assert model.shape.spatial_patchify and model.shape.latent_channels == 8
    with pytest.raises(CheckpointError, match="patchify asked for"):
        convert([transformer, vae], tmp_path / "no", patchify=False)
    wrong = save(tmp_path / "w", official_vae(channels=16))
    with pytest.raises(CheckpointError, match=r"do not belong together.*32 bits.*16 channels"):
        convert([transformer, wrong], tmp_path / "no")
    assert not (tmp_path / "no").exists()


def text_folder(path: Path, channels: int = 256) -> Path:
    path.mkdir()
    shape = TextShape(16, channels, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    config = {"model_type": "t5", "architectures": ["T5EncoderModel"], **asdict(shape)}
    (path / "config.json").write_text(json.dumps(config))
    weights = {name: torch.ones(size) for name, size in shape.tensors().items()}
    save_file(weights, path / "model.safetensors")
    (path / "tokenizer.json").write_text("{}")
    (path / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer"}')
    (path / "notes.py").write_text("never copied")
    return path


def test_text_folder_is_copied(tmp_path: Path) -> None:
    transformer = save(tmp_path / "t", official_state(text=256))
    convert([transformer, text_folder(tmp_path / "t5")], tmp_path / "pipe")
    assert listing(tmp_path / "pipe/text_encoder") == {"config.json", "model.safetensors"}
    assert listing(tmp_path / "pipe/tokenizer") == {"tokenizer.json", "tokenizer_config.json"}
    index = json.loads((tmp_path / "pipe/model_index.json").read_text())
    assert "default_pn" not in index  # no known model has these shapes
    assert index["text_encoder"] == ["transformers", "T5EncoderModel"]
    assert index["tokenizer"] == ["transformers", "T5Tokenizer"]
    convert([tmp_path / "pipe"], tmp_path / "back")
    assert listing(tmp_path / "back") == {"transformer.pth"}


def test_default_pixel_budget_can_be_said(tmp_path: Path) -> None:
    source = save(tmp_path / "t", official_state())
    convert([source], tmp_path / "pipe", pn="0.25M")
    index = json.loads((tmp_path / "pipe/model_index.json").read_text())
    assert index["default_pn"] == "0.25M"
    with pytest.raises(ValueError, match="unknown pn"):
        convert([source], tmp_path / "no", pn="9M")


def test_text_folder_of_another_model(tmp_path: Path) -> None:
    transformer = save(tmp_path / "t", official_state(text=256))
    with pytest.raises(CheckpointError, match="feature width: expected 256, found 128"):
        convert([transformer, text_folder(tmp_path / "t5", 128)], tmp_path / "pipe")
    assert not (tmp_path / "pipe").exists()


def test_fixture_round_trip(tmp_path: Path) -> None:
    family = fixtures() / "infinity_2b_like"
    weights, vae = family / "weights.safetensors", family / "vae.safetensors"
    convert([weights, vae], tmp_path / "pipe", max_shard_bytes=3_000_000)
    convert([tmp_path / "pipe"], tmp_path / "back", max_shard_bytes=3_000_000)
    assert_same(read_official(tmp_path / "back/transformer"), load_file(weights))
    assert_same(read_official(tmp_path / "back/vae.pth"), load_file(vae))

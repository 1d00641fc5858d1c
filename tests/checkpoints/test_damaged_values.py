"""Damage that names and shapes do not show: holes in a download, NaN, and odd configurations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.checkpoints.official_format import official_state, official_vae
from tests.checkpoints.refusal import save
from toprovar.checkpoints import CheckpointError, convert, load_autoencoder, load_transformer
from toprovar.checkpoints.pipeline_index import read_defaults

KEY = "block_chunks.1.module.0.ffn.fc1.weight"


def test_a_hole_in_a_download(tmp_path: Path) -> None:
    """The zip directory is whole, some of the data are zeros."""
    path = save(tmp_path / "a.pth", official_state())
    convert([path], tmp_path / "good.safetensors")
    load_transformer(path, verify=True)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle:middle + 4096] = bytes(4096)
    path.write_bytes(content)
    for name in ("out", "out.pth", "out.safetensors"):
        with pytest.raises(CheckpointError, match="checksum"):
            convert([path], tmp_path / name)
        assert not (tmp_path / name).exists()
    for dtype in (None, torch.bfloat16):
        with pytest.raises(CheckpointError, match="checksum"):
            load_transformer(path, dtype, verify=True)
    assert {p.name for p in tmp_path.iterdir()} == {"a.pth", "good.safetensors"}


def test_files_written_without_checksums(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        path = save(tmp_path / "a.pth", official_state())
    finally:
        torch.serialization.set_crc32_options(True)
    load_transformer(path, verify=True)
    convert([path], tmp_path / "out")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_no_numbers(value: float, dtype: torch.dtype, tmp_path: Path) -> None:
    state = official_state(dtype=dtype, width=256, heads=4)
    state[KEY][:] = value
    path = tmp_path / "a.safetensors"
    save_file(state, path)
    for wanted in (None, torch.float32, torch.bfloat16):
        with pytest.raises(CheckpointError, match=f"'{KEY}': holds values that are no numbers"):
            load_transformer(path, wanted)


def test_one_value_that_is_no_number(tmp_path: Path) -> None:
    """Loading and converting look at every value."""
    state = official_state(hidden=1024, width=256, heads=4)
    state[KEY][512, 3] = float("nan")
    path = save(tmp_path / "a.pth", state)
    with pytest.raises(CheckpointError, match=KEY):
        convert([path], tmp_path / "out")
    for dtype in (None, torch.bfloat16):
        with pytest.raises(CheckpointError, match=KEY):
            load_transformer(path, dtype)
    vae = official_vae()
    vae["decoder.conv_out.conv.bias"][1] = float("nan")
    with pytest.raises(CheckpointError, match=r"decoder\.conv_out\.conv\.bias"):
        load_autoencoder(save(tmp_path / "v.pth", vae))


@pytest.mark.parametrize("kind, entries, part", [
    ("transformer", {"spatial_patchify": "false"}, "spatial_patchify must be true or false"),
    ("transformer", {"level_embed_every_chunk": 1}, "level_embed_every_chunk must be true or"),
    ("transformer", {"depth": True}, "depth must be a whole number"),
    ("transformer", {"width": 64.0}, "width must be a whole number"),
    ("transformer", {"pool_heads": "2"}, "pool_heads must be a whole number"),
    ("transformer", {"mlp_hidden": -1}, "mlp_hidden must be a whole number"),
    ("vae", {"channel_multipliers": "112"}, "channel_multipliers must be a whole number"),
    ("vae", {"channel_multipliers": None}, "not a valid configuration"),
    ("vae", {"channel_multipliers": [1] * 99}, "1 to 16 channel_multipliers"),
    ("vae", {"stride": 1 << 70}, "stride must be a whole number"),
])
def test_configurations(kind: str, entries: dict[str, Any], part: str, tmp_path: Path) -> None:
    convert([save(tmp_path / "t", official_state()), save(tmp_path / "v", official_vae(steps=2))],
            tmp_path / "pipe")
    file = tmp_path / "pipe" / kind / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))
    load = load_transformer if kind == "transformer" else load_autoencoder
    with pytest.raises(CheckpointError) as error:
        load(tmp_path / "pipe")
    assert part in str(error.value) and str(file) in str(error.value)


@pytest.mark.parametrize("content, part", [
    ('{"default_cfg": NaN}', "'default_cfg'"), ('{"default_cfg": -1}', "'default_cfg'"),
    ('{"default_tau": "0.5"}', "'default_tau'"), ('{"default_tau": true}', "'default_tau'"),
    ('{"default_tau": 1' + "0" * 400 + "}", "'default_tau'"),
    ('{"default_pn": "9M"}', "expected one of 0.06M"), ('{"default_pn": ["1M"]}', "'default_pn'"),
    ('{"default_x": 1}', "'default_x'"), ("[" * 100_000, "not valid JSON"),
    ("1" * 5000, "not valid JSON"), ("[]", "not a JSON dictionary"), ("\udcff", "not valid JSON"),
])
def test_an_index_of_a_pipeline(content: str, part: str, tmp_path: Path) -> None:
    file = tmp_path / "model_index.json"
    file.write_text(content, "utf-8", "surrogateescape")
    with pytest.raises(CheckpointError) as error:
        read_defaults(tmp_path)
    assert part in str(error.value) and str(file) in str(error.value)

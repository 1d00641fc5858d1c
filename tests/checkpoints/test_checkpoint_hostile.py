"""Files made to do harm, and destinations that must not be written."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.checkpoints.official_format import State, official_state, official_vae, write_shards
from tests.checkpoints.refusal import refused, save
from toprovar.checkpoints import CheckpointError, convert, load_transformer
from toprovar.checkpoints import writer as writer_module


class Command:
    """Unpickles into a command."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_never_runs(zipped: bool, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    content = {**official_state(), "extra": Command(mark)}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    refused(tmp_path / "a.pth", "refused", "mkdir", "could run code")
    assert not mark.exists()


@pytest.mark.parametrize("name", [
    "../secret.safetensors", "/etc/passwd", "a/../../b", "..", "", "sub/x.safetensors",
    "C:\\x.safetensors", "..\\x", 7, None, ["x"],
])
def test_index_cannot_lead_out_of_its_folder(name: object, tmp_path: Path) -> None:
    save_file(official_state(), tmp_path / "secret.safetensors")
    folder = write_shards(tmp_path / "model", official_state())
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["head.bias"] = name
    index.write_text(json.dumps(content))
    refused(folder, "model.safetensors.index.json", "key 'head.bias'", "leads out of the folder")


def raw_safetensors(path: Path, header: object, data: bytes = b"", length: int | None = None
                    ) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def entry(start: int, end: int, shape: tuple[int, ...] = (4,)) -> dict[str, object]:
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}


@pytest.mark.parametrize("header, data, length", [
    ({"a": entry(0, 16), "b": entry(8, 24)}, bytes(24), None),  # overlapping
    ({"a": entry(0, 16), "b": entry(16, 32)}, bytes(20), None),  # past the end
    ({"a": entry(0, 16, (1 << 62, 4))}, bytes(16), None),  # overflow
    ({"a": entry(16, 0)}, bytes(16), None),
    ({"a": entry(0, 16)}, bytes(16), 1 << 60),  # header longer than the file
    (b'{"a":' + b"[" * 5000, b"", None),
    (b'{"a\x00', b"", None),
])
def test_hostile_safetensors(header: object, data: bytes, length: int | None, tmp_path: Path
                             ) -> None:
    refused(raw_safetensors(tmp_path / "a.safetensors", header, data, length),
            "truncated or damaged safetensors file")


def test_unknown_dtype_is_named(tmp_path: Path) -> None:
    header = {"a": {"dtype": "F8_E8M0", "shape": [4], "data_offsets": [0, 4]}}
    refused(raw_safetensors(tmp_path / "a.safetensors", header, bytes(4)), "a.safetensors")


def test_block_numbers_made_up(tmp_path: Path) -> None:
    for key in ("block_chunks.9999.module.9999.ada_gss", "blocks.9999.ada_gss"):
        state = {**official_state(), key: torch.ones(1)}
        refused(save(tmp_path / "a.pth", state), "implausible number of blocks")
    state = {**official_state(), "block_chunks.99999999999.module.0.ada_gss": torch.ones(1)}
    refused(save(tmp_path / "b.pth", state), "unexpected", "99999999999")
    vae = {**official_vae(), "encoder.down.99.block.0.conv1.conv.weight": torch.ones(1)}
    refused(save(tmp_path / "c.pth", vae), "implausible number of VAE levels")


def test_tensor_larger_than_its_bytes(tmp_path: Path) -> None:
    state = official_state()
    state["cfg_uncond"] = torch.zeros(1, 1).expand(10**9, 256)
    refused(save(tmp_path / "a.pth", state), "'cfg_uncond'", "fewer bytes than the shape needs")


def test_dictionary_that_holds_itself(tmp_path: Path) -> None:
    state: dict[str, object] = dict(official_state())
    state["self"] = state
    path = save(tmp_path / "a.pth", state)
    assert load_transformer(path).shape.depth == 4


def test_sparse_and_meta_tensors(tmp_path: Path) -> None:
    for odd in (torch.eye(64).to_sparse(), torch.empty(64, device="meta")):
        state = {**official_state(), "text_proj_for_ca.0.bias": odd}
        refused(save(tmp_path / "a.pth", state), "a.pth")


def test_control_characters_do_not_reach_the_terminal(tmp_path: Path) -> None:
    error = refused(save(tmp_path / "a.pth", {"\x1b[31mkey\n\r": torch.ones(1)}))
    assert str(error).isprintable()


def repack(path: Path, change: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path) as archive:
        parts = {i.filename: archive.read(i) for i in archive.infolist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, change.get(name.partition("/")[2], content))
    return path


def test_storage_shorter_than_it_says(tmp_path: Path) -> None:
    """An entry cut short must not let a tensor read what follows it in the file."""
    path = save(tmp_path / "a.pth", official_state())
    refused(repack(path, {"data/0": b"abcd"}), "a.pth")


def test_compressed_file_is_read_whole(tmp_path: Path) -> None:
    state = official_state()
    path = repack(save(tmp_path / "a.pth", state), {}, zipfile.ZIP_DEFLATED)
    try:
        model = load_transformer(path)
    except CheckpointError as error:
        assert str(path) in str(error)
    else:
        assert torch.equal(model.state_dict()["head.bias"], state["head.bias"])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return save(tmp_path / "t.pth", official_state())


def test_existing_destination(source: Path, tmp_path: Path) -> None:
    pipe, file = tmp_path / "pipe", tmp_path / "x.safetensors"
    for target in (pipe, file):
        convert([source], target)
        with pytest.raises(CheckpointError, match="exists already"):
            convert([source], target)
    other: State = official_state(seed=5)
    second = save(tmp_path / "u.pth", other)
    convert([second], pipe, overwrite=True)
    convert([second], file, overwrite=True)
    assert torch.equal(load_transformer(pipe).null_text, other["cfg_uncond"])
    assert {p.name for p in tmp_path.iterdir()} == {"pipe", "x.safetensors", "t.pth", "u.pth"}


def test_foreign_folder_is_never_replaced(source: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home/letters.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=r"no conversion wrote: found letters\.txt"):
        convert([source], tmp_path / "home", overwrite=True)
    assert (tmp_path / "home/letters.txt").read_text() == "mine"


def test_destination_over_a_source(source: Path, tmp_path: Path) -> None:
    convert([source], tmp_path / "pipe")
    for sources, target in (
        ([source], source), ([tmp_path / "pipe"], tmp_path / "pipe"),
        ([tmp_path / "pipe"], tmp_path / "pipe/back"), ([tmp_path / "pipe/transformer"], tmp_path),
    ):
        with pytest.raises(CheckpointError, match="overlap"):
            convert(sources, target, overwrite=True)
    with pytest.raises(CheckpointError, match="is not a folder"):
        convert([tmp_path / "pipe"], tmp_path / "t.pth/below")


def test_combinations_that_make_no_sense(source: Path, tmp_path: Path) -> None:
    vae = save(tmp_path / "v", official_vae())
    convert([source], tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="a second transformer"):
        convert([source, tmp_path / "pipe"], tmp_path / "no")
    with pytest.raises(CheckpointError, match="one file takes one model"):
        convert([source, vae], tmp_path / "no.pth")
    with pytest.raises(CheckpointError, match="both kinds"):
        convert([vae, tmp_path / "pipe"], tmp_path / "no")
    with pytest.raises(CheckpointError, match="nothing to convert"):
        convert([], tmp_path / "no")
    assert not list(tmp_path.glob("*no*"))


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_nothing_is_left_when_writing_fails(
    error: BaseException, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert([source], tmp_path / "old")
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    calls = 0

    def fail(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise error

    monkeypatch.setattr(writer_module, "write_json", fail)
    for target in (tmp_path / "new/deep/pipe", tmp_path / "old", tmp_path / "x.safetensors"):
        calls = 0
        with pytest.raises((CheckpointError, KeyboardInterrupt)):
            convert([source], target, overwrite=True, max_shard_bytes=100_000,
                             progress=fail)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before
    assert {p.name for p in tmp_path.iterdir()} == {"t.pth", "old"}


def test_full_disk_is_told_beforehand(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr("toprovar.checkpoints.staging.shutil.disk_usage", lambda _: usage)
    with pytest.raises(CheckpointError, match="not enough space"):
        convert([source], tmp_path / "new/pipe")
    assert not (tmp_path / "new").exists()

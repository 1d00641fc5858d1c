"""Pickles of a few bytes that ask for hours or gigabytes are refused at once."""

from __future__ import annotations

import collections
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.checkpoints.official_format import assert_same, official_state
from tests.checkpoints.refusal import save
from tests.checkpoints.test_checkpoint_hostile import repack
from toprovar.checkpoints import CheckpointError, inspect_checkpoint, load_transformer

HEAD = b"\x80\x02"
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"


def tensor(numel: bytes, offset: bytes, size: bytes, stride: bytes) -> bytes:
    """A dictionary of one float32 tensor; the numbers are opcodes."""
    storage = STORAGE + numel + b"tQ"
    rest = b"\x89ccollections\nOrderedDict\n)R"
    made = TENSOR + b"(" + storage + offset + size + b"\x85" + stride + b"\x85" + rest + b"tR"
    return HEAD + b"}X\x01\x00\x00\x00a" + made + b"s."


def number(value: int) -> bytes:
    return b"J" + value.to_bytes(4, "little")


def doubled(times: int) -> bytes:
    """A tuple that holds twice one that holds twice one ..., as the key of a dictionary."""
    steps = b"".join(b"q%ch%c\x86" % (i, i) for i in range(times))
    return HEAD + b"})" + steps + b"K\x01s."


ATTACKS = {
    "a key that takes years to hash": (doubled(60), "tuples nested"),
    "the same in a set": (HEAD + b"cbuiltins\nset\n])" + b"".join(
        b"q%ch%c\x86" % (i, i) for i in range(60)) + b"a\x85R.", "builtins.set"),
    "a key nested too deep": (HEAD + b"})" + b"\x85" * 100_000 + b"K\x01s.", "tuples nested"),
    "keys whose hashes collide": (HEAD + b"}(" + b"".join(
        b"\x8a\x10" + (((1 << 61) - 1) * (i + 1)).to_bytes(16, "little") + b"N"
        for i in range(50_000)) + b"u.", "keys that are no text"),
    "6 GB of zeros": (HEAD + b"cbuiltins\nbytearray\n\x8a\x05" + (6 << 30).to_bytes(5, "little")
                      + b"\x85R.", "builtins.bytearray"),
    "a new tensor of 40 GB": (HEAD + b"ctorch\nTensor\n" + number(10**9) + b"K\x0a\x86R.",
                              "torch.Tensor"),
    "a new storage": (HEAD + b"ctorch\nFloatStorage\n" + number(2 * 10**9) + b"\x85R.",
                      "torch.FloatStorage"),
    "text longer than the file": (HEAD + b"X" + b"\xff\xff\xff\xff" + b"a.", "bytes at once"),
    "bytes longer than the file": (b"\x80\x05\x96" + b"\xff" * 7 + b"\x0f" + b"a.", "at once"),
    "a number longer than the file": (HEAD + b"\x8b\xff\xff\xff\x7f.", "bytes at once"),
    "a huge number": (HEAD + b"}K\x01\x8a\xff" + b"\x7f" * 255 + b"s.", "number too large"),
    "a name without an end": (HEAD + b"c" + b"x" * 5000, "without an end"),
    "text that grows": (HEAD + b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x0e\x00\x00\x00"
                        b"unicode_escape\x86R.", "_codecs.encode"),
    "numpy memory": (HEAD + b"cnumpy\ndtype\nX\x0b\x00\x00\x00V6000000000\x85R.", "numpy.dtype"),
    "numpy memory by its state": (
        HEAD + b"cnumpy\ndtype\nX\x02\x00\x00\x00f8\x85R(K\x03X\x01\x00\x00\x00<NNN"
        + number(2**31 - 1) + b"K\x01K\x00tb.", "sets the state"),
    "state of a tensor": (tensor(number(4), b"K\x00", b"K\x04", b"K\x01")[:-2] + b"(NNNNtbs.",
                          "sets the state"),
    "opcodes without end": (HEAD + b"N" * 2_100_000 + b".", "more opcodes"),
    "an opcode of no checkpoint": (HEAD + b"N2.", "opcode DUP"),
    "not a pickle to its end": (HEAD + b"}", "truncated, damaged"),
    "a mark that is missing": (HEAD + b"t.", "truncated, damaged"),
    "a call of code": (HEAD + b"cos\nsystem\nX\x02\x00\x00\x00id\x85R.", "could run code"),
    "a sparse tensor": (HEAD + b"ctorch._utils\n_rebuild_sparse_tensor\n)R.", "could run code"),
    "data that is not there": (tensor(number(2 * 10**9), b"K\x00", b"K\x01", b"K\x01"),
                               "no data of this size"),
    "a tensor beyond its data": (tensor(number(4), b"K\x00", number(10**9), b"K\x01"),
                                 "past the end of its data"),
    "strides beyond the data": (tensor(number(4), b"K\x00", b"K\x02", number(10**9)),
                                "past the end of its data"),
    "an offset beyond the data": (tensor(number(4), number(10**9), b"K\x04", b"K\x01"),
                                  "past the end of its data"),
    "a negative stride": (tensor(number(4), b"K\x00", b"K\x02", b"J\xff\xff\xff\xff"),
                          "impossible shape"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_zip_archive(attack: str, tmp_path: Path) -> None:
    pickle, part = ATTACKS[attack]
    path = save(tmp_path / "a.pth", {"a": torch.ones(4)})
    repack(path, {"data.pkl": pickle})
    with pytest.raises(CheckpointError) as refusal:
        inspect_checkpoint(path)
    assert part in str(refusal.value), str(refusal.value)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("attack", ATTACKS)
def test_the_older_format(attack: str, tmp_path: Path) -> None:
    pickle, part = ATTACKS[attack]
    buffer = io.BytesIO()
    torch.save({}, buffer, _use_new_zipfile_serialization=False)
    head = buffer.getvalue().removesuffix(HEAD + b"}q\x00." + HEAD + b"]q\x00.")
    assert len(head) < len(buffer.getvalue())
    names = HEAD + b"]X\x01\x00\x00\x000a." + (4).to_bytes(8, "little") + bytes(16)
    path = tmp_path / "a.pth"
    path.write_bytes(head + pickle + names)
    with pytest.raises(CheckpointError) as refusal:
        inspect_checkpoint(path)
    if part == "no data of this size":
        part = "ends before its data does"
    assert part in str(refusal.value), str(refusal.value)


def test_what_old_versions_of_torch_read_unsafely(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pth", {"a": torch.ones(4)})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("a/constants.pkl", b"")
    with pytest.raises(CheckpointError, match="TorchScript"):
        inspect_checkpoint(path)
    buffer = io.BytesIO()
    torch.save({}, buffer, _use_new_zipfile_serialization=False)
    entry = tarfile.TarInfo(buffer.getvalue()[:20].decode("latin-1"))
    how = {"format": tarfile.USTAR_FORMAT, "encoding": "latin-1"}
    with tarfile.open(tmp_path / "b.pth", "w", **how) as tar:
        tar.addfile(entry, io.BytesIO())
    assert (tmp_path / "b.pth").read_bytes()[:2] == HEAD
    with pytest.raises(CheckpointError, match="tar archive"):
        inspect_checkpoint(tmp_path / "b.pth")


def test_a_file_that_unpacks_to_gigabytes(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pth", {"a": torch.ones(4)})
    repack(path, {"data/0": bytes(30 << 20)}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(CheckpointError, match="unpacks to far more"):
        inspect_checkpoint(path)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("numpy", ["numpy.core", "numpy._core"])
def test_what_training_files_hold(zipped: bool, numpy: str, tmp_path: Path) -> None:
    """Numpy's numbers, views, parameters, text, bytes and odd keys do not stand in the way."""
    state = official_state()
    base = torch.arange(24.0).view(4, 6)
    content = {
        "args": collections.OrderedDict(
            last_wei_g=np.median([0.5, 0.7]), steps=np.int64(3), half=np.float16(1),
            betas=(0.9, 0.97), note="x", raw=b"\x00\xff", flag=np.bool_(True), big=2**64 - 1,
        ),
        "sizes": {0.333: {"pixel": (1, 2), "scales": [(1, 2, 3)]}, (1, 2): torch.Size([3])},
        "type": torch.bfloat16, "place": torch.device("cpu"), "empty": torch.empty(0, 5),
        "views": [base.t(), base[1:, 2:]], "weight": torch.nn.Parameter(base),
        "gpt_fsdp": state,
        "optimizer": {"state": {i: {"exp_avg": torch.ones(2)} for i in range(3)}},
    }
    path = tmp_path / "a.pth"
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    written = path.read_bytes() if not zipped else zipfile.ZipFile(path).read("a/data.pkl")
    for name in (b"numpy._core.multiarray", b"numpy.core.multiarray"):
        written = written.replace(name, numpy.encode() + b".multiarray")
    if zipped:
        repack(path, {"data.pkl": written})
    else:
        path.write_bytes(written)
    found = load_transformer(path)
    assert_same({"x": found.null_text.detach()}, {"x": state["cfg_uncond"]})
    assert np.dtype not in torch.serialization.get_safe_globals()

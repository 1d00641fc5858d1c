from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.entropy.make import DEPTH, SCHEDULE, make_trace
from toprovar.entropy.trace import EntropyTrace, TraceRecorder


def test_the_recorder_takes_what_it_wants() -> None:
    recorder = TraceRecorder(scales=[2, 3], layers=(1,))
    assert recorder.wants(2, 1) and not recorder.wants(2, 0) and not recorder.wants(1, 1)
    assert TraceRecorder().wants(99, 99)
    entropy = torch.rand(2, 16)
    recorder.record(2, 1, (4, 4), entropy)
    kept = entropy.clone()
    entropy.zero_()  # the run's own tensor, used again
    trace = recorder.trace(SCHEDULE, DEPTH)
    assert torch.equal(trace.map(2, 1).flatten(1), kept)
    assert trace.scales == (2,) and trace.layers == (1,) and trace.keys == {(2, 1): 21}


def test_the_recorder_refuses_what_does_not_fit() -> None:
    recorder = TraceRecorder()
    with pytest.raises(ValueError, match=r"must be \[B, 16\], got \(2, 15\)"):
        recorder.record(2, 0, (4, 4), torch.rand(2, 15))
    with pytest.raises(ValueError, match=r"\[B, H, 16\]"):
        TraceRecorder(heads=True).record(2, 0, (4, 4), torch.rand(2, 16))
    with pytest.raises(ValueError, match="nothing was recorded"):
        recorder.trace(SCHEDULE, DEPTH)
    recorder.record(2, 0, (4, 4), torch.rand(2, 16))
    with pytest.raises(ValueError, match="new recorder"):
        recorder.record(2, 0, (4, 4), torch.rand(2, 16))


def test_keys_follow_from_what_was_kept() -> None:
    recorder = TraceRecorder(scales=[2])
    for layer in range(2):
        recorder.record(2, layer, (4, 4), torch.rand(1, 16))
    trace = recorder.trace(SCHEDULE, 2, kept=[[1, 1], [4, 0], [10, 16]])
    assert trace.keys == {(2, 0): 15, (2, 1): 17}
    torch.testing.assert_close(trace.relative(2, 0), trace.map(2, 0) / math.log(15))


def test_access() -> None:
    trace = make_trace(heads=True)
    assert trace.images == 3 and trace.scales == tuple(range(7)) and trace.layers == (0, 1, 2, 3)
    assert trace.maps[3, 1].shape == (3, 2, 6, 6) and trace.map(3, 1).shape == (3, 6, 6)
    assert trace.stack(3).shape == (3, 4, 6, 6) and trace.stack(3, [2]).shape == (3, 1, 6, 6)
    expected = torch.cat([trace.map(s, 1).double().flatten(1) for s in (2, 3)], 1).mean(1)
    torch.testing.assert_close(trace.mean_over([2, 3], [1]), expected)
    with pytest.raises(ValueError, match="was not recorded"):
        trace.map(9, 0)
    with pytest.raises(ValueError, match="no map"):
        trace.mean_over([9])
    with pytest.raises(TypeError):
        trace.maps[0, 0] = torch.zeros(1)  # type: ignore[index]  # it is a value


def test_join() -> None:
    a, b = make_trace(2, seed=0), make_trace(1, seed=5)
    both = EntropyTrace.join([a, b])
    assert both.images == 3 and both.about.seeds == (0, 1, 5)
    assert torch.equal(both.map(4, 2), torch.cat([a.map(4, 2), b.map(4, 2)]))
    with pytest.raises(ValueError, match="cannot be joined"):
        EntropyTrace.join([a, make_trace(depth=3)])
    with pytest.raises(ValueError, match="no traces"):
        EntropyTrace.join([])


@pytest.mark.parametrize("heads", [False, True])
def test_saved_and_loaded(tmp_path: Path, heads: bool) -> None:
    trace = make_trace(heads=heads)
    trace.save(tmp_path / "t.safetensors")
    again = EntropyTrace.load(tmp_path / "t.safetensors")
    assert again.about == trace.about and again.keys == trace.keys
    assert again.maps.keys() == trace.maps.keys()
    assert all(torch.equal(again.maps[p], trace.maps[p]) for p in trace.maps)
    assert again.about.prompts == ("prompt 0", "prompt 1", "prompt 2")
    assert [p.name for p in tmp_path.iterdir()] == ["t.safetensors"]  # nothing half-written left


def test_unmeasured_tokens_survive(tmp_path: Path) -> None:
    recorder = TraceRecorder()
    recorder.record(1, 0, (2, 2), torch.tensor([[1.0, math.nan, 0.5, 0.2]]))
    recorder.trace(SCHEDULE, 1).save(tmp_path / "t")
    assert EntropyTrace.load(tmp_path / "t").map(1, 0).isnan().sum() == 1


def broken(tmp_path: Path, change: Any) -> Path:
    """A saved trace after ``change(tensors, header)``."""
    path = tmp_path / "t.safetensors"
    make_trace().save(path)
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["toprovar"])
    tensors = load_file(path)
    metadata = change(tensors, header)
    tensors = {name: t.contiguous() for name, t in tensors.items()}
    save_file(tensors, path, {"toprovar": json.dumps(header)} if metadata is None else metadata)
    return path


def put(tensors: dict[str, Any], name: str, value: torch.Tensor) -> None:
    tensors[name] = value


@pytest.mark.parametrize(("change", "message"), [
    (lambda t, h: {}, "not an entropy trace"),
    (lambda t, h: {"toprovar": "["}, "not a usable"),
    (lambda t, h: {"toprovar": "[]"}, "not of the expected kind"),
    (lambda t, h: h.pop("about") and None, "about"),
    (lambda t, h: h.pop("keys") and None, "keys"),
    (lambda t, h: h["about"].update(version=2), "version"),
    (lambda t, h: h["about"].update(depth="deep"), "depth"),
    (lambda t, h: h["about"].update(depth=2), "not of this run"),
    (lambda t, h: h["about"].update(surprise=1), "surprise"),
    (lambda t, h: h["about"].update(prompts=["one"]), "1 prompts for 3 images"),
    (lambda t, h: h["keys"].pop("3.1") and None, "keys of each of its maps"),
    (lambda t, h: h["keys"].update({"3.1": 0}), "at least one key"),
    (lambda t, h: h["keys"].update({"3.1": 2}), r"between 0 and log\(keys\)"),
    (lambda t, h: h["keys"].update({"x.y": 2}), "unexpected entry 'x.y'"),
    (lambda t, h: put(t, "entropy.3.1", t["entropy.3.1"].half()), "expected float32"),
    (lambda t, h: put(t, "entropy.3.1", t["entropy.3.1"][:, :5]), r"expected \[B, 6, 6\]"),
    (lambda t, h: put(t, "entropy.3.1", t["entropy.3.1"][:2]), "different images"),
    (lambda t, h: put(t, "entropy.3.1", t["entropy.3.1"] + math.inf), "between 0"),
    (lambda t, h: put(t, "weights", torch.zeros(1)), "unexpected entry 'weights'"),
    (lambda t, h: t.clear(), "at least one map"),
])
def test_broken_files_say_what_is_wrong(tmp_path: Path, change: Any, message: str) -> None:
    path = broken(tmp_path, change)
    with pytest.raises(ValueError, match=message) as error:
        EntropyTrace.load(path)
    assert str(path) in str(error.value)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for content in (b"", b"\x00" * 8, b"PK\x03\x04 not this", (2**62).to_bytes(8, "little")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not a usable entropy trace"):
            EntropyTrace.load(path)
    make_trace().save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="not a usable entropy trace"):
        EntropyTrace.load(path)
    with pytest.raises(ValueError, match="absent: the entropy trace cannot be read: No such file"):
        EntropyTrace.load(tmp_path / "absent")

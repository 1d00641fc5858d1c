"""A text encoder is what its folder says it is, in every way one is read, or it is refused."""

from __future__ import annotations

import json
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, PreTrainedTokenizerFast, T5EncoderModel

from tests.checkpoints.official_format import State, assert_same, official_state, official_vae
from tests.checkpoints.refusal import save
from tests.checkpoints.test_checkpoint_pipeline import tiny_text_encoder
from toprovar import InfinityPipeline, bundled_model
from toprovar.checkpoints import CheckpointError, convert
from toprovar.checkpoints.text_load import load_text_encoder, load_tokenizer
from toprovar.checkpoints.text_shape import read_text_shape

Q = "encoder.block.0.layer.0.SelfAttention.q.weight"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Asking a network for anything fails the test, also where the error would be swallowed."""
    asked: list[Any] = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *what, **_: asked.append(what) or [])
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield
    assert not asked


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_text_encoder(tmp_path_factory.mktemp("t5") / "t5")


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "t5"))


def rewrite(folder: Path, change: Callable[[State], State]) -> None:
    file = folder / "model.safetensors"
    save_file(change({k: v.clone() for k, v in load_file(file).items()}), file)


def set_json(file: Path, **entries: object) -> None:
    content = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps({**content, **entries}))


def lacking(name: str) -> Callable[[State], State]:
    return lambda state: {k: v for k, v in state.items() if name not in k}


def with_(name: str, value: torch.Tensor) -> Callable[[State], State]:
    return lambda state: {**state, name: value}


def scaled(state: State, name: str, scale: torch.Tensor, suffix: str = "scale_weight") -> State:
    """The file in 8 bits, one tensor of it with a scale."""
    state[name] = (state[name] / scale).to(torch.float8_e4m3fn)
    return {**state, name.removesuffix("weight") + suffix: scale}


WRONG: dict[str, tuple[Callable[[State], State], tuple[str, ...]]] = {
    "a block is missing": (lacking("block.0.layer.1"), ("block.0.layer.1", "missing", "16, 256")),
    "a foreign prefix": (lambda s: {f"t5.{k}": v for k, v in s.items()},
                         ("shared.weight", "missing", "the file has 't5.shared.weight'")),
    "a wrapper's prefix": (lambda s: {f"module.{k}": v for k, v in s.items()},
                           ("shared.weight", "missing")),
    "no embedding": (lacking("shared"), ("shared.weight", "missing")),
    "another shape": (with_(Q, torch.zeros(8, 256)), (Q, "expected [16, 256]", "found [8, 256]")),
    "one block more": (with_(Q.replace("0", "1", 1), torch.zeros(16, 256)),
                       ("block.1", "unexpected", "1 layers")),
    "whole numbers": (with_(Q, torch.zeros(16, 256, dtype=torch.int8)), (Q, "wrong dtype")),
    "a scale of a wrong shape": (lambda s: scaled(s, Q, torch.ones(16, 256)), ("scale_weight",
                                 "not known")),
    "a scale of what is not in 8 bits": (with_(Q.replace("weight", "scale_weight"),
                                               torch.ones(())), ("scale_weight", "not known")),
    "scales of an unknown name": (with_(Q + ".absmax", torch.ones(4)), ("absmax", "unexpected")),
    "NaN": (with_(Q, torch.full((16, 256), float("nan"))), (Q, "no numbers")),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_weights_are_refused(case: str, folder: Path) -> None:
    change, parts = WRONG[case]
    rewrite(folder, change)
    with pytest.raises(CheckpointError) as error:
        load_text_encoder(folder, folder, None)
    for part in parts:
        assert part in str(error.value), str(error.value)


def test_wherever_a_text_encoder_is_read(folder: Path, tmp_path: Path) -> None:
    transformer = save(tmp_path / "t", official_state())
    vae = save(tmp_path / "v", official_vae(steps=2))
    convert([transformer, vae, folder], tmp_path / "pipe")
    for broken in (folder, tmp_path / "pipe/text_encoder"):
        rewrite(broken, lacking("SelfAttention.q"))
    for read in (
        lambda: convert([transformer, vae, folder], tmp_path / "out"),
        lambda: convert([tmp_path / "pipe"], tmp_path / "out"),
        lambda: InfinityPipeline.from_official(transformer, vae, folder),
        lambda: InfinityPipeline.from_folder(tmp_path / "pipe"),
        lambda: InfinityPipeline.from_pretrained(tmp_path / "pipe"),
    ):
        with pytest.raises(CheckpointError, match=Q):
            read()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("entries, parts", [
    ({"num_layers": 2}, ("block.1", "missing")),
    ({"num_layers": 10**9}, ("num_layers",)),
    ({"num_layers": "1"}, ("num_layers", "whole number", "'1'")),
    ({"d_model": True}, ("d_model", "whole number")),
    ({"d_ff": 10**400}, ("d_ff",)),
    ({"d_kv": 4}, (Q, "expected [8, 256]")),
    ({"feed_forward_proj": "gated-gelu"}, ("wi_0", "missing")),
    ({"feed_forward_proj": "os.system"}, ("feed_forward_proj", "gated-gelu")),
    ({"layer_norm_epsilon": float("nan")}, ("layer_norm_epsilon",)),
    ({"model_type": "umt5"}, ("model_type", "expected t5", "found umt5")),
    ({"auto_map": {"AutoModel": "evil.Model"}}, ("auto_map", "never done")),
])
def test_wrong_configurations_are_refused(
    entries: dict[str, Any], parts: tuple[str, ...], folder: Path
) -> None:
    set_json(folder / "config.json", **entries)
    with pytest.raises(CheckpointError) as error:
        load_text_encoder(folder, folder, None)
    for part in parts:
        assert part in str(error.value), str(error.value)


def test_what_is_missing_is_named_and_no_network_asked(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformer = save(tmp_path / "t", official_state())
    (folder / "tokenizer.json").unlink()
    for read in (lambda: load_text_encoder(folder, folder, None),
                 lambda: convert([transformer, folder], tmp_path / "out")):
        with pytest.raises(CheckpointError, match=r"no tokenizer.*tokenizer\.json or spiece"):
            read()
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        load_text_encoder(folder, folder, None)
    monkeypatch.chdir(tmp_path)
    for name in ("pipe", "google/flan-t5-of-nobody", "flan-t5-xxx", "a b", "../x/../y"):
        with pytest.raises(CheckpointError, match="no such file or folder"):
            load_text_encoder(name, name, None)
        with pytest.raises(CheckpointError, match="no tokenizer"):
            load_tokenizer(name)
        for read in (InfinityPipeline.from_folder, InfinityPipeline.from_pretrained):
            with pytest.raises(ValueError, match="not a pipeline folder"):
                read(name)
    with pytest.raises(CheckpointError, match=r"a single file.*folder"):
        load_text_encoder(transformer, transformer, None)


def test_a_pipeline_without_tokenizer(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                      ) -> None:
    """A relative folder without tokenizer/ must not become the name of somebody's model."""
    convert([save(tmp_path / "t", official_state()), save(tmp_path / "v", official_vae(steps=2)),
             folder], tmp_path / "pipe")
    shutil.rmtree(tmp_path / "pipe/tokenizer")
    monkeypatch.chdir(tmp_path)
    for read in (InfinityPipeline.from_folder, InfinityPipeline.from_pretrained):
        with pytest.raises(CheckpointError, match=r"pipe.tokenizer: no tokenizer"):
            read("pipe")


@pytest.mark.parametrize("change", [
    lambda f: set_json(f / "tokenizer_config.json",
                       auto_map={"AutoTokenizer": ["evil.Tokenizer", None]}),
    lambda f: set_json(f / "config.json", auto_map={"AutoTokenizer": "evil.Tokenizer"}),
])
def test_code_of_a_tokenizer_is_neither_run_nor_asked_about(
    change: Callable[[Path], None], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(folder)
    mark = tmp_path / "mark"
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w')")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(CheckpointError, match=r"'auto_map'.*code"):
        load_tokenizer(folder)
    with pytest.raises(CheckpointError, match=r"'auto_map'.*code"):
        convert([save(tmp_path / "t", official_state()), folder], tmp_path / "out")
    assert not mark.exists()


@pytest.mark.parametrize("name, content", [
    ("tokenizer.json", "{"), ("tokenizer.json", "[" * 100_000), ("tokenizer.json", "{}"),
    ("tokenizer.json", '{"model": {"type": "BPE", "vocab": {"a": -1}}}'),
    ("tokenizer.json",
     '{"added_tokens": [], "model": {"type": "BPE", "vocab": {}, "merges": []}}'),
    ("tokenizer_config.json", "{"), ("tokenizer_config.json", "[" * 100_000),
    ("tokenizer_config.json", "9" * 5000),
    ("tokenizer_config.json", '{"tokenizer_class": "PreTrainedTokenizerFast"}'),  # no padding token
])
def test_damaged_tokenizers(name: str, content: str, folder: Path) -> None:
    (folder / name).write_text(content)
    with pytest.raises(CheckpointError, match=f"{name}|padding token|no tokens"):
        load_tokenizer(folder)


def test_a_tokenizer_of_another_model(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="more words: expected at most 16, found"):
        load_text_encoder(folder, bundled_model() / "tokenizer", None)


@pytest.mark.parametrize("name", ["TokenizersBackend", "PreTrainedTokenizerFast"])
def test_the_class_that_transformers_5_writes(name: str, folder: Path) -> None:
    set_json(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    expected = AutoTokenizer.from_pretrained(folder)
    set_json(folder / "tokenizer_config.json", tokenizer_class=name)
    found = load_tokenizer(folder)
    assert isinstance(found, PreTrainedTokenizerFast)
    assert found("a a").input_ids == expected("a a").input_ids
    own = json.loads((bundled_model() / "tokenizer/tokenizer_config.json").read_text())
    assert own["tokenizer_class"] == "PreTrainedTokenizerFast"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, None])
@pytest.mark.parametrize("source", ["tiny", "embedded"])
def test_the_same_model_as_transformers_loads(
    source: str, dtype: torch.dtype | None, good: Path
) -> None:
    folder = good if source == "tiny" else bundled_model() / "text_encoder"
    words = good if source == "tiny" else bundled_model() / "tokenizer"
    found, _ = load_text_encoder(folder, words, dtype)
    expected = T5EncoderModel.from_pretrained(folder, torch_dtype=dtype or "auto")
    assert_same(found.state_dict(), expected.state_dict())
    assert {k: tuple(v.shape) for k, v in found.state_dict().items()
            if k != "encoder.embed_tokens.weight"} == read_text_shape(folder).tensors()
    assert found.shared.weight is found.encoder.embed_tokens.weight
    assert not found.training and found.device.type == "cpu"
    ids = torch.tensor([[3, 1, 2, 1]])
    with torch.no_grad():
        assert torch.equal(found(ids).last_hidden_state, expected.eval()(ids).last_hidden_state)
    for name in asdict(read_text_shape(folder)):
        assert getattr(found.config, name) == getattr(expected.config, name), name


@pytest.mark.parametrize("suffix", ["scale_weight", "weight_scale"])
@pytest.mark.parametrize("shape", [(), (1,), (16,), (16, 1)])
def test_scales_of_8_bits_are_applied(shape: tuple[int, ...], suffix: str, folder: Path) -> None:
    before, _ = load_text_encoder(folder, folder, torch.float32)
    want = before.state_dict()[Q].clone()
    scale = torch.full(shape, 0.01) if shape in ((), (1,)) else torch.logspace(-3, -1, 16).view(
        shape)
    rewrite(folder, lambda state: {**scaled(state, Q, scale.view(-1, 1), suffix),
                                   Q.removesuffix("weight") + suffix: scale,
                                   "scaled_fp8": torch.zeros(0, dtype=torch.float8_e4m3fn)})
    found, _ = load_text_encoder(folder, folder, torch.float32)
    assert (found.state_dict()[Q] - want).abs().max() <= want.abs().max() / 16
    plain, _ = load_text_encoder(folder, folder, None)
    assert plain.state_dict()[Q].dtype == torch.float32  # that of the embedding


def test_twins_and_other_parts_of_a_whole_t5(folder: Path) -> None:
    rewrite(folder, lambda s: {
        **{k.replace("shared", "encoder.embed_tokens"): v for k, v in s.items()},
        "decoder.final_layer_norm.weight": torch.ones(4), "lm_head.weight": torch.ones(4),
    })
    found, _ = load_text_encoder(folder, folder, None)
    assert torch.equal(found.shared.weight, found.encoder.embed_tokens.weight)


def test_loading_in_threads(tmp_path: Path) -> None:
    """Transformers' and diffusers' loaders change the whole process while they load."""
    found: list[Any] = []

    def load(read: Callable[..., Any]) -> None:
        for _ in range(2):
            try:
                found.append(read(bundled_model(), torch_dtype=torch.float32))
            except Exception as error:
                found.append(error)

    reads = (InfinityPipeline.from_folder, InfinityPipeline.from_pretrained,
             InfinityPipeline.from_pretrained)
    threads = [threading.Thread(target=load, args=(read,)) for read in reads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    for pipe in found:
        assert isinstance(pipe, InfinityPipeline), pipe
        for part in (pipe.transformer, pipe.vae, pipe.text_encoder):
            assert not any(t.is_meta for t in part.state_dict().values())
            assert {p.dtype for p in part.parameters()} == {torch.float32}

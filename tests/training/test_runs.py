from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from toprovar.models.autoencoder import InfinityAutoencoder
from toprovar.models.transformer import InfinityTransformer
from training.bundles import SHARD_BYTES, read_bundle, write_bundle
from training.data.tokenizer import CaptionEncoder
from training.export import check_size, export
from training.loop import Loop
from training.settings import TokenizerSettings, TransformerSettings, load
from training.stream import SceneStream, make_batch, scenes_at
from training.text_encoder import build_text_encoder
from training.tokenizer_stage import TokenizerStage, load_autoencoder
from training.transformer_stage import TransformerStage
from training.unpack import unpack

CONFIGS = Path("training/configs")
CPU = torch.device("cpu")
TOKENIZER = load(TokenizerSettings, CONFIGS / "smoke_tokenizer.json")
TRANSFORMER = load(TransformerSettings, CONFIGS / "smoke_transformer.json")


def _leg(make, settings, atlas, out, until=1.0, resume=False, bring=None):
    loop = Loop(make(), settings.run, out, until, bring)
    if resume:
        loop.resume()
    stream = SceneStream(
        settings.run.views, settings.run.seed, atlas, CaptionEncoder(32), loop.counter.step
    )
    loop.run(stream)
    stream.close()
    return loop


@pytest.fixture(scope="module")
def vae(small_atlas, tmp_path_factory):
    """A barely trained autoencoder's bundle."""
    out = tmp_path_factory.mktemp("tokenizer")
    _leg(lambda: TokenizerStage(TOKENIZER, small_atlas, CPU), TOKENIZER, small_atlas, out)
    return out / "bundle"


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_resumed_run_ends_with_the_same_weights(vae, small_atlas, tmp_path, optimizer):
    settings = replace(TRANSFORMER, optimizer=replace(TRANSFORMER.optimizer, name=optimizer))

    def make():
        return TransformerStage(settings, load_autoencoder(vae, CPU), small_atlas, CPU)

    whole = _leg(make, settings, small_atlas, tmp_path / "whole")
    first = _leg(make, settings, small_atlas, tmp_path / "parts", until=0.5)
    assert first.counter.step == 2
    second = _leg(make, settings, small_atlas, tmp_path / "parts", resume=True)
    assert second.counter == whole.counter
    for a, b in zip(whole.parameters, second.parameters, strict=True):
        assert torch.equal(a, b)
    for a, b in zip(whole.ema.average, second.ema.average, strict=True):
        assert torch.equal(a, b)
    lines = [json.loads(x) for x in (tmp_path / "whole/log.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["train", "check"]
    assert (tmp_path / "whole/sheet.png").stat().st_size > 1000


def test_transformer_learns_one_batch(vae, small_atlas):
    stage = TransformerStage(TRANSFORMER, load_autoencoder(vae, CPU), small_atlas, CPU)
    view = TRANSFORMER.run.views[0]
    batch = make_batch(scenes_at(view, 1, 0), view, small_atlas, CaptionEncoder(32))
    losses = _losses(stage, batch, 25)
    assert losses[0] == pytest.approx(0.693, abs=0.01)
    assert losses[-1] < losses[0] - 0.1


def test_autoencoder_learns_one_batch(small_atlas):
    stage = TokenizerStage(TOKENIZER, small_atlas, CPU)
    view = TOKENIZER.run.views[0]
    batch = make_batch(scenes_at(view, 1, 0), view, small_atlas, CaptionEncoder(2))
    losses = _losses(stage, batch, 12)
    assert losses[-1] < 0.85 * losses[0]


def _losses(stage, batch, steps):
    found = []
    for _ in range(steps):
        loss, _ = stage.loss(batch, torch.Generator().manual_seed(0))
        loss.backward()
        for optimizer in stage.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        found.append(loss.item())
    return found


def test_export_loads_again_with_the_averaged_weights(vae, small_atlas, tmp_path):
    run = replace(TRANSFORMER.run, steps=1)
    settings = replace(TRANSFORMER, run=run)

    def make():
        return TransformerStage(settings, load_autoencoder(vae, CPU), small_atlas, CPU)

    loop = _leg(make, settings, small_atlas, tmp_path / "run", bring=tmp_path / "brought")
    brought = {path.name for path in (tmp_path / "brought").iterdir()}
    assert brought == {"weights-1-of-1.safetensors", "log.jsonl", "sheet.png"}
    written = export(vae, tmp_path / "brought", tmp_path / "out")
    assert written < 2 * 10**6
    found = InfinityTransformer.from_pretrained(tmp_path / "out/transformer")
    with loop.ema.applied():
        expected = loop.stage.modules["transformer"].state_dict()
        for name, tensor in found.state_dict().items():
            torch.testing.assert_close(tensor.float(), expected[name], atol=1e-3, rtol=1e-3)
    InfinityAutoencoder.from_pretrained(tmp_path / "out/vae")
    words = json.loads((tmp_path / "out/tokenizer/tokenizer_config.json").read_text())
    assert words["tokenizer_class"] == "PreTrainedTokenizerFast"  # transformers 4 knows it too
    with pytest.raises(ValueError, match="at most 1000"):
        export(vae, tmp_path / "brought", tmp_path / "small", most=1000)


def test_shipped_folder_unpacks_into_the_bundles_it_was_made_of(vae, small_atlas, tmp_path):
    settings = replace(TRANSFORMER, run=replace(TRANSFORMER.run, steps=1))

    def make():
        return TransformerStage(settings, load_autoencoder(vae, CPU), small_atlas, CPU)

    _leg(make, settings, small_atlas, tmp_path / "run")
    export(vae, tmp_path / "run/bundle", tmp_path / "out")
    unpack(tmp_path / "out", tmp_path / "again")
    for name, source in (("tokenizer", vae), ("transformer", tmp_path / "run/bundle")):
        tensors, info = read_bundle(source)
        found, kept = read_bundle(tmp_path / "again" / name)
        assert found.keys() == tensors.keys()
        assert all(torch.equal(found[key], tensors[key]) for key in found)
        own = set(info) - {"check", "step", "images", "progress"}
        assert {key: kept[key] for key in own} == {key: info[key] for key in own}
    loop = Loop(make(), settings.run, tmp_path / "more")
    loop.start_from(tmp_path / "again/transformer", keep_progress=False)
    assert loop.counter.step == 0


def test_a_bank_composes_once_and_words_its_captions_anew(vae, small_atlas):
    view = replace(TRANSFORMER.run.views[0], bank=2, batch=3)
    stream = SceneStream((view,), 1, small_atlas, CaptionEncoder(32))
    batches = [next(stream) for _ in range(4)]
    stream.close()
    assert [b.slot for b in batches] == [0, 1, 0, 1]
    assert [len(b.images) for b in batches] == [3, 3, 0, 0]
    assert not torch.equal(batches[0].ids, batches[2].ids)
    scenes = [scenes_at(view, 1, step) for step in (0, 2)]
    assert torch.equal(scenes[0].cx, scenes[1].cx)
    stage = TransformerStage(TRANSFORMER, load_autoencoder(vae, CPU), small_atlas, CPU)
    first, _, again, _ = (stage.targets(b, None) for b in batches)
    assert torch.equal(first.bits, again.bits) and first.bits.shape[0] == 3


def test_shipped_sizes_fit():
    tokenizer = load(TokenizerSettings, CONFIGS / "tokenizer.json")
    transformer = load(TransformerSettings, CONFIGS / "transformer.json")
    modules = {
        "vae": InfinityAutoencoder.from_shape(tokenizer.model),
        "transformer": InfinityTransformer.from_shape(transformer.model),
        "text_encoder": build_text_encoder(transformer.text),
    }
    assert check_size(modules) < 48 * 10**6
    with pytest.raises(ValueError, match="at most"):
        check_size(modules, 10**6)


def test_bundles_are_cut_into_files_that_may_travel(tmp_path):
    tensors = {f"t{i}": torch.full((5_000_000,), float(i)) for i in range(3)}
    write_bundle(tmp_path, {"old": torch.zeros(2)}, {"step": 1})
    paths = write_bundle(tmp_path, tensors, {"step": 2})
    assert len(paths) == 3 and all(p.stat().st_size < SHARD_BYTES + 10**4 for p in paths)
    found, info = read_bundle(tmp_path)
    assert info == {"step": 2} and sorted(found) == ["t0", "t1", "t2"]
    paths[1].unlink()
    with pytest.raises(FileNotFoundError, match="2 of 3"):
        read_bundle(tmp_path)

"""A few steps of training, and the programs end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from toprovar.evaluation.compositional import Judge, Thresholds
from toprovar.evaluation.compositional.decode import decode
from toprovar.evaluation.compositional.detector import Maps
from training.data.atlas import SpriteAtlas
from training.data.catalog import class_index, load_classes
from training.data.colours import COLOUR_NAMES
from training.judge.labels import colour_tables, labels_of
from training.judge.settings import load_settings
from training.judge.spoilt import SpoiltAtlas
from training.judge.stage import JudgeStage
from training.judge.stream import JudgeStream, Mixture, mixed_scenes
from training.judge.targets import losses, targets_of
from training.judge.truth import CLASS_NAMES, tally, truths_of
from training.train_judge import main as train

CONFIG = Path("training/configs/smoke_judge.json")
CPU = torch.device("cpu")


@pytest.fixture
def sprites(patterns):
    return SpoiltAtlas(patterns, 2, 1)


def test_flawless_maps_have_least_loss_and_decode_to_the_truth(patterns):
    scenes = mixed_scenes(24, 3, Mixture(0.4, 0.2, 0.0), 0)
    labels = labels_of(scenes, patterns.extent)
    wanted = targets_of(labels, len(CLASS_NAMES), 32)

    def logits(share):
        return torch.logit(share.clamp(1e-4, 1 - 1e-4))

    maps = Maps(logits(wanted.heat), logits(wanted.colour), wanted.size, wanted.offset)
    worse = Maps(maps.heat.roll(3, 3), maps.colour, maps.size, maps.offset)
    best = {name: float(value) for name, value in losses(maps, wanted).items()}
    assert best["heat"] < 0.1 and best["size"] == 0.0 and best["offset"] == 0.0
    assert float(losses(worse, wanted)["heat"]) > 20 * best["heat"]
    found = decode(maps, CLASS_NAMES, COLOUR_NAMES, Thresholds())
    result = tally(found, truths_of(labels))
    assert result.f1 == 1.0 and result.colour_accuracy == 1.0


def test_colours_are_taught_only_where_the_catalogue_is_sure():
    true, known = colour_tables()
    names = ("red", "yellow", "orange", "white")
    red, yellow, orange, white = (COLOUR_NAMES.index(name) for name in names)
    apple, key, elephant = (class_index(n) for n in ("apple", "key", "elephant"))
    assert true[apple, 0, red] == 1 and known[apple, 0].all()
    assert true[key, 0].sum() == 0 and known[key, 0, red] == 1
    assert known[key, 0, yellow] == 0 and known[key, 0, orange] == 0
    assert true[elephant, 0].sum() == 0 and known[elephant, 0, white] == 0
    for index, entry in enumerate(load_classes()):
        for variant, name in enumerate(COLOUR_NAMES, start=1):
            if name in entry.sayable():
                assert true[index, variant].argmax() == variant - 1
                assert true[index, variant].sum() == 1 and known[index, variant].all()


def test_batches_depend_on_seed_and_step_alone(sprites, patterns):
    view = load_settings(CONFIG).run.views[0]
    one = JudgeStream(view, 1, sprites, Mixture())
    batches = [next(one) for _ in range(3)]
    one.close()
    two = JudgeStream(view, 1, SpoiltAtlas(patterns, 2, 9), Mixture(), first_step=2)
    again = next(two)
    two.close()
    assert torch.equal(batches[2].images, again.images)
    assert torch.equal(batches[2].labels.centre, again.labels.centre)
    assert not torch.equal(batches[1].images, again.images)


def test_a_few_steps_lower_the_loss(sprites):
    settings = load_settings(CONFIG)
    stage = JudgeStage(settings, sprites, None, CPU)
    stream = JudgeStream(settings.run.views[0], 1, sprites, Mixture())
    batch = next(stream)
    stream.close()
    values = []
    for _ in range(20):
        loss, parts = stage.loss(batch, torch.Generator().manual_seed(1))
        assert set(parts) == {"heat", "colour", "size", "offset"}
        loss.backward()
        for optimizer in stage.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        values.append(float(loss.detach()))
    assert values[-1] < 0.8 * values[0]


def test_program_writes_a_judge_that_loads(tmp_path, patterns, monkeypatch):
    monkeypatch.setattr(SpriteAtlas, "load", lambda path, device: patterns)
    options = ["--config", str(CONFIG), "--out", str(tmp_path / "run"), "--steps", "2",
               "--bring", str(tmp_path / "bring")]
    assert train([*options, "--device", "cpu"]) == 0
    judge = Judge.load(tmp_path / "bring" / "judge.safetensors")
    assert judge.classes == CLASS_NAMES and judge.colours == COLOUR_NAMES
    assert judge.about["steps"] == 2 and judge.about["reconstructions"] is False
    assert "f1_by_score" in judge.about["calibration"]


def test_unknown_settings_are_refused(tmp_path):
    values = json.loads(CONFIG.read_text(encoding="utf-8"))
    (tmp_path / "c.json").write_text(json.dumps({**values, "speed": 1}), encoding="utf-8")
    with pytest.raises(ValueError, match="unknown speed"):
        load_settings(tmp_path / "c.json")

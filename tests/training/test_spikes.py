"""What the autoencoder's training says against spikes in its feature maps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.data.atlas import SpriteAtlas
from training.data.tokenizer import CaptionEncoder
from training.losses import peakedness, spikes
from training.settings import TokenizerSettings, load
from training.stream import make_batch, scenes_at
from training.tokenizer_stage import TokenizerStage, worst_corner

SETTINGS = load(TokenizerSettings, Path("training/configs/smoke_tokenizer.json"))


def test_peakedness_of_a_flat_map_and_of_one_place() -> None:
    flat = torch.ones(2, 3, 5, 7)
    spike = torch.zeros(1, 3, 5, 7)
    spike[:, :, 2, 3] = 4.0
    assert torch.allclose(peakedness(flat), torch.ones(2))
    assert peakedness(spike).item() == pytest.approx(35)
    assert spikes([flat]).item() == 0
    assert spikes([spike, flat]).item() == pytest.approx(torch.tensor(35 / 4).log().item() / 2)


def test_the_gradient_lowers_the_spike_and_nothing_else() -> None:
    x = torch.ones(1, 2, 8, 8)
    x[..., 0, 7] = 30.0
    x.requires_grad_()
    spikes([x]).backward()
    assert x.grad is not None
    assert (x.grad[..., 0, 7] > 0).all() and (x.grad[..., 3, 3] < 0).all()


def test_a_stage_with_the_term_says_so_and_keeps_no_maps(small_atlas: SpriteAtlas) -> None:
    weighed = replace(SETTINGS, loss=replace(SETTINGS.loss, spike=0.5))
    scenes = scenes_at(SETTINGS.run.views[0], 1, 0)
    numbers = {}
    for name, settings in (("plain", SETTINGS), ("weighed", weighed)):
        stage = TokenizerStage(settings, small_atlas, torch.device("cpu"))
        batch = make_batch(scenes, SETTINGS.run.views[0], small_atlas, CaptionEncoder(4))
        loss, told = stage.loss(batch, torch.Generator())
        loss.backward()
        numbers[name] = (loss.item(), told)
        assert not stage._levels
    extra = 0.5 * numbers["weighed"][1]["spike"].item()
    assert "spike" not in numbers["plain"][1]
    assert numbers["weighed"][0] == pytest.approx(numbers["plain"][0] + extra, rel=1e-5)


def test_a_blot_in_a_corner_is_seen() -> None:
    wanted = torch.zeros(2, 3, 64, 64)
    made = wanted.clone()
    made[:, :, 20:40, 20:40] = 0.5
    assert worst_corner(made, wanted) == 0
    made[:, :, :8, 56:] = 0.1
    assert worst_corner(made, wanted) == pytest.approx(12.75, rel=1e-4)

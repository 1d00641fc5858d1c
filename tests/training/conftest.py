from __future__ import annotations

import colorsys
from pathlib import Path

import pytest
import torch

from tests.training.art import disc
from toprovar.models.transformer import InfinityTransformer
from toprovar.schedules import ScaleSchedule
from training.data.atlas import SpriteAtlas
from training.data.catalog import load_classes
from training.initialise import initialise_transformer

ATLAS = Path(__file__).resolve().parents[2] / "training" / ".cache" / "atlas.safetensors"
SCHEDULE = ScaleSchedule("1.0", "tiny", ((1, 1), (2, 2), (3, 3), (4, 4)), (64, 64))


@pytest.fixture(scope="session")
def small_atlas() -> SpriteAtlas:
    """Every class as a disc of its hue."""
    classes = load_classes()
    discs = [disc(colorsys.hsv_to_rgb((c.hue or 0.0) / 360, 0.89, 0.9)) for c in classes]
    return SpriteAtlas.expand((torch.stack(discs) * 255).round().to(torch.uint8), classes)


@pytest.fixture(scope="session")
def real_atlas() -> SpriteAtlas:
    """The art, which only those have who fetched it."""
    if not ATLAS.is_file():
        pytest.skip("no sprite atlas here; python -m training.data.atlas builds it")
    return SpriteAtlas.load(ATLAS)


@pytest.fixture
def schedule() -> ScaleSchedule:
    return SCHEDULE


@pytest.fixture
def model() -> InfinityTransformer:
    """A tiny transformer whose every branch counts: no small gates, no zero biases."""
    made = InfinityTransformer(
        depth=2, width=32, num_heads=2, bits_per_token=8, text_channels=16, text_max_length=8,
        mlp_hidden=48,
    )
    initialise_transformer(made, 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in made.parameters():
            p.add_(torch.randn(p.shape, generator=generator) * 0.2)
    return made

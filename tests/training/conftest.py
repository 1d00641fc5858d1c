from __future__ import annotations

import pytest
import torch

from toprovar.models.transformer import InfinityTransformer
from toprovar.schedules import ScaleSchedule
from training.data.atlas import SpriteAtlas
from training.data.catalog import load_classes
from training.initialise import initialise_transformer

SCHEDULE = ScaleSchedule("1.0", "tiny", ((1, 1), (2, 2), (3, 3), (4, 4)), (64, 64))


@pytest.fixture(autouse=True)
def _threads():
    torch.set_num_threads(2)


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


@pytest.fixture(scope="session")
def atlas() -> SpriteAtlas:
    """Plain coloured squares in place of the art."""
    classes = load_classes()
    generator = torch.Generator().manual_seed(2)
    colours = torch.randint(0, 256, (len(classes), 11, 3, 1, 1), generator=generator)
    sprites = torch.full((len(classes), 11, 4, 16, 16), 255, dtype=torch.uint8)
    sprites[:, :, :3] = colours.to(torch.uint8)
    return SpriteAtlas(sprites, torch.ones(len(classes), 2))

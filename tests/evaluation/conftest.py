from __future__ import annotations

from pathlib import Path

import pytest
import torch

from toprovar.evaluation.compositional import Judge, Thresholds
from toprovar.evaluation.compositional.detector import Detector, DetectorConfig
from training.data.atlas import SpriteAtlas
from training.data.catalog import load_classes

ATLAS = Path("training/.cache/atlas.safetensors")


@pytest.fixture(scope="session")
def patterns() -> SpriteAtlas:
    """Coarse random patterns in place of the art, one for each class and colour."""
    count = len(load_classes())
    generator = torch.Generator().manual_seed(3)
    coarse = torch.rand((count * 11, 3, 5, 5), generator=generator)
    colour = torch.nn.functional.interpolate(coarse, (32, 32), mode="bilinear")
    opaque = torch.cat([colour, torch.ones_like(colour[:, :1])], 1).unflatten(0, (count, 11))
    return SpriteAtlas((opaque * 255).round().to(torch.uint8), torch.ones(count, 2))


@pytest.fixture(scope="session")
def art() -> SpriteAtlas:
    """The real sprites, where they have been fetched."""
    if not ATLAS.is_file():
        pytest.skip(f"no sprite atlas at {ATLAS}; `python -m training.data.atlas` builds it")
    return SpriteAtlas.load(ATLAS)


@pytest.fixture(scope="session")
def bundled() -> Judge:
    """The judge that ships with the package, once it has been trained."""
    if not Judge.bundled():
        pytest.skip("no trained judge in the package; `python -m training.train_judge` makes one")
    return Judge.load()


@pytest.fixture
def small() -> Judge:
    """An untrained judge of three classes and two colours."""
    torch.manual_seed(0)
    config = DetectorConfig(3, 2, (4, 8, 8, 8), (1, 1, 1, 1), 8, 64)
    return Judge(
        Detector(config).eval(), ("cat", "dog", "car"), ("red", "blue"), Thresholds(0.3, 0.6),
        {"steps": 7},
    )

from __future__ import annotations

import re
import time

import pytest
import torch

from tests.tiny import tiny_transformer
from toprovar.bundled import bundled_model
from toprovar.checkpoints.load import load_transformer
from toprovar.entropy.calibration import find_calibration
from toprovar.models.fingerprint import model_fingerprint
from toprovar.models.transformer import InfinityTransformer


def test_the_same_for_every_load() -> None:
    found = {
        model_fingerprint(load_transformer(bundled_model(), dtype=dtype))
        for dtype in (None, torch.float32, torch.float16, torch.bfloat16)
    }
    (one,) = found
    assert re.fullmatch(r"10x320-16bit-[0-9a-f]{16}", one)


def test_the_name_stays() -> None:
    """Calibrations, plans and drafts name models by it."""
    assert find_calibration(model_fingerprint(load_transformer(bundled_model()))) is not None


def test_float32_weights_and_a_float16_cast() -> None:
    model = tiny_transformer()
    before = model_fingerprint(model)
    assert model_fingerprint(torch.nn.Module.half(model)) == before  # type: ignore[arg-type]


def test_other_weights_or_shapes_differ() -> None:
    base = model_fingerprint(tiny_transformer())
    assert base == model_fingerprint(tiny_transformer())
    assert base != model_fingerprint(tiny_transformer(seed=1))
    assert base != model_fingerprint(tiny_transformer(text_max_length=17))
    changed = tiny_transformer()
    with torch.no_grad():
        changed.head.weight[0, 0] += 0.01
    assert base != model_fingerprint(changed)


def test_it_is_cheap() -> None:
    model = load_transformer(bundled_model(), dtype=torch.float32)
    model_fingerprint(model)
    started = time.perf_counter()
    for _ in range(10):
        model_fingerprint(model)
    assert (time.perf_counter() - started) / 10 < 0.05


def test_weights_that_are_not_there() -> None:
    with torch.device("meta"):
        model = InfinityTransformer.from_shape(tiny_transformer().shape)
    with pytest.raises(ValueError, match="not loaded"):
        model_fingerprint(model)

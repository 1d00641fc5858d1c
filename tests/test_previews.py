"""What is shown of a run between its scales."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from tests.tiny import tiny_autoencoder
from toprovar.previews import SIDE, kept_share, small_picture
from toprovar.sampling.run import ScaleState


@pytest.mark.parametrize(("grid", "size"), [((64, 64), (256, 256)), ((8, 4), (64, 128)),
                                            ((64, 32), (128, 256))])
def test_pictures_are_small(grid: tuple[int, int], size: tuple[int, int]) -> None:
    codes = torch.zeros(2, 8, *grid)
    picture = small_picture(tiny_autoencoder(), codes)
    assert picture.size == size and max(picture.size) <= SIDE * 16


def state(kept: dict[int, Any], counts: tuple[int, ...]) -> ScaleState:
    return cast(ScaleState, SimpleNamespace(
        report=SimpleNamespace(tokens=4, kept=counts, grid=(2, 2)), kept=kept))


def test_shares_count_the_layers_that_kept_a_token() -> None:
    assert kept_share(state({}, (4, 4))) is None
    found = kept_share(state({0: torch.tensor([0, 1]), 1: torch.tensor([[0], [3]])}, (2, 1, 4, 0)))
    assert found is not None
    torch.testing.assert_close(found, torch.tensor([[0.75, 0.5], [0.25, 0.25]]))

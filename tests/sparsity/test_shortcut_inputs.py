"""How large maps are, at the widths that there are."""

from __future__ import annotations

import pytest

from toprovar.analysis.shortcut_fit import portions
from toprovar.models.config import TransformerConfig
from toprovar.models.variants import get_variant
from toprovar.schedules import get_schedule
from toprovar.sparsity.shortcut_inputs import Sizes

EMBEDDED = TransformerConfig(depth=10, width=320, num_heads=5, bits_per_token=16)


def map_bytes(sizes: Sizes) -> int:
    """Of 8 bits, with scales and constant in float32."""
    factors = sizes.rank * (sizes.inputs + sizes.width)
    return factors + 4 * (sizes.inputs + sizes.rank + 2 * sizes.width)


def test_maps_of_the_embedded_model_are_as_they_were() -> None:
    sizes = Sizes.of(EMBEDDED)
    assert sizes == Sizes(width=320, codes=16, near=64, rank=96, own=320)
    assert (sizes.directions, sizes.far, sizes.inputs) == (64, 16, 1968)
    assert Sizes.seen(320, 16, 64, 96) == sizes
    assert sizes.flops == 2 * (320 * (2 * 16 + 64) + 96 * (1968 + 320))
    assert map_bytes(sizes) == 230_464  # 439,808 in 16 bits


@pytest.mark.parametrize(("name", "codes", "inputs", "each", "most"), [
    ("2b", 32, 3808, 1_531_776, 100e6), ("8b", 56, 4240, 2_049_600, 150e6)])
def test_maps_of_wide_models_are_bounded(name: str, codes: int, inputs: int, each: int,
                                         most: float) -> None:
    shape = get_variant(name).config
    sizes = Sizes.of(shape)
    assert sizes == Sizes(shape.width, codes, near=128, rank=256, own=512)
    assert (sizes.directions, sizes.far, sizes.inputs) == (512, 32, inputs)
    assert Sizes.seen(shape.width, codes, 512, 256) == sizes
    assert map_bytes(sizes) == each
    part, = portions(shape, [get_schedule("1.0", "1M")], most_bytes=1 << 50)
    fitted = {one for way in part for one in way.linear_shortcuts}
    lengths = {one.length for one in fitted}
    directions = 2 * shape.width * (codes + len(lengths) * sizes.directions)
    assert len(fitted) == 48 and 48 * each + directions < most  # 82 and 113 MB


@pytest.mark.parametrize(("width", "near", "own", "directions", "rank"), [
    (4, 1, 4, 1, 1), (512, 102, 512, 102, 154), (516, 103, 512, 512, 155),
    (640, 128, 512, 512, 192), (1024, 128, 512, 512, 256)])
def test_where_the_bounds_begin(width: int, near: int, own: int, directions: int, rank: int
                                ) -> None:
    sizes = Sizes.of(TransformerConfig(depth=2, width=width, num_heads=1, bits_per_token=4,
                                        pool_heads=1))
    assert sizes == Sizes(width, 4, near, rank, own) and sizes.directions == directions
    assert Sizes.seen(width, 4, directions, rank) == sizes

"""Masks as tokens, strengths as scales, and pixels put back: against plain readings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from toprovar.editing.edit import Region
from toprovar.editing.mask import drawn_tokens, inside_cells, near_region, read_mask
from toprovar.editing.outpaint import place
from toprovar.editing.paste import Box, blended, box_around
from toprovar.editing.source import quantise_latent, read_pictures, resize_pictures
from toprovar.editing.strength import first_drawn
from toprovar.models.quantizer import quantise
from toprovar.schedules import get_schedule

SCHEDULE = get_schedule("1.0", "0.25M")


def test_cells_with_any_white_are_inside() -> None:
    mask = torch.zeros(1, 1, 512, 512)
    mask[..., 31, 48] = 1
    inside = inside_cells(mask, (32, 32))
    assert inside.sum() == 1 and inside[0, 0, 1, 3]
    mask[..., 40, 48] = 0.01  # less than counts
    assert inside_cells(mask, (32, 32)).sum() == 1


@pytest.mark.parametrize("covered", [0.0, 0.25, 0.6])
def test_coarse_tokens_are_drawn_where_enough_of_them_is_inside(covered: float) -> None:
    """Against shares counted on a grid that all scales divide."""
    inside = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    inside[..., 5:15, 9:30] = True
    for grid, drawn in zip(SCHEDULE.grids, drawn_tokens(inside, SCHEDULE.grids, covered),
                           strict=True):
        if grid[0] <= 2:  # the tone of the picture stays
            assert not drawn.any()
            continue
        n = 32 * grid[0]
        fine = inside[0, 0].repeat_interleave(n // 32, 0).repeat_interleave(n // 32, 1).double()
        side = n // grid[0]
        share = fine.reshape(grid[0], side, grid[1], side).mean((1, 3))
        limit = 0.0 if grid == SCHEDULE.grids[-1] else covered
        expected = share >= limit - 1e-9 if limit else share > 0
        assert torch.equal(drawn[0].reshape(grid), expected)


def test_the_tone_is_drawn_where_everything_is() -> None:
    inside = torch.ones(2, 1, 32, 32, dtype=torch.bool)
    inside[1, 0, 0, 0] = False
    first, second, third = drawn_tokens(inside, SCHEDULE.grids)[:3]
    assert first.tolist() == [[True], [False]] and second.all(1).tolist() == [True, False]
    assert not second[1].any() and third.all()


def test_distances_are_those_of_a_king() -> None:
    inside = torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    inside[0, 0, 10:12, 20] = True
    inside[1, 0, 0, 0] = True
    distances, counts = near_region(inside, SCHEDULE.grids, margin=2, whole_until=16)
    assert set(distances) == {7, 8, 9}
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    for row, cells in enumerate(([(10, 20), (11, 20)], [(0, 0)])):
        plain = torch.stack([torch.maximum((y - a).abs(), (x - b).abs()) for a, b in cells]).amin(0)
        assert torch.equal(distances[9][row].reshape(32, 32), (plain - 2).clamp_min(0).float())
    assert counts[9] == 64  # 6 x 5 tokens, on the ladder's next step
    half, _ = near_region(inside, SCHEDULE.grids)
    assert set(half) == {7, 8, 9}  # sides above 16 of 32
    everything, none = near_region(torch.ones(1, 1, 32, 32, dtype=torch.bool), SCHEDULE.grids)
    assert not everything and not none


def test_masks_of_any_kind_are_read_alike() -> None:
    array = np.zeros((64, 64), dtype=np.float32)
    array[10:30, 5:40] = 1
    picture = Image.fromarray((array * 255).astype(np.uint8))
    found = [read_mask(m, (64, 64)) for m in (
        picture, picture.convert("RGB"), array, torch.from_numpy(array)[None],
        torch.from_numpy(array)[None, None], array.astype(np.uint8), [picture])]
    assert all(torch.equal(f, found[0]) for f in found)
    assert read_mask([picture, array], (32, 32)).shape == (2, 1, 32, 32)
    thin = np.zeros((900, 900))
    thin[450, 7] = 1
    assert read_mask(thin, (64, 64)).max() == 1  # no white gets lost


def test_strength_counts_scales_from_the_finest() -> None:
    assert first_drawn(0.0, 13) == (13, 0.0) and first_drawn(1.0, 13) == (0, 0.0)
    assert first_drawn(4 / 13, 13) == (9, 0.0)
    scale, part = first_drawn(0.5, 13)
    assert scale == 7 and part == pytest.approx(0.5)
    known = [first_drawn(s / 100, 13) for s in range(101)]
    drawn = [13 - scale + part for scale, part in known]
    assert drawn == pytest.approx([s / 100 * 13 for s in range(101)])


def test_weights_fall_off_outside_of_the_mask() -> None:
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 20:40, 20:40] = 1
    assert torch.equal(blended(mask, 0), mask)
    weight = blended(mask, 12)
    assert (weight[mask == 1] == 1).all()
    row = weight[0, 0, 30, 40:]
    assert (row.diff() <= 1e-6).all() and row[0] > 0.5 and (row[12:] == 0).all()
    feathered = torch.linspace(0, 1, 64).expand(1, 1, 64, 64).clone()
    assert (blended(feathered, 8) >= feathered).all()
    assert blended(torch.ones(1, 1, 8, 8), 100).min() == 1


def test_boxes_have_the_aspect_that_is_drawn() -> None:
    mask = torch.zeros(1, 1, 400, 600)
    mask[..., 100:150, 500:580] = 1
    box = box_around(mask, 20, 1.0)
    assert box == Box(65, 480, 120, 120)
    assert box.cut(mask).sum() == mask.sum()
    wide = box_around(mask, 1000, 1.0)
    assert wide == Box(0, 0, 400, 600)
    assert box_around(mask, 0, 0.5).width == pytest.approx(2 * box_around(mask, 0, 0.5).height, 1)


def test_pictures_of_any_kind_are_read_alike() -> None:
    array = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    tensor = torch.from_numpy(array).permute(2, 0, 1).float() / 255
    kinds = (Image.fromarray(array), array, array[None], array.astype(np.float32) / 255, tensor,
             tensor[None], [tensor])
    for kind in kinds:
        torch.testing.assert_close(read_pictures(kind), tensor[None])
    assert resize_pictures(tensor[None], (80, 80)).shape == (1, 3, 80, 80)
    cropped = resize_pictures(tensor[None], (40, 40), "crop")
    torch.testing.assert_close(cropped, tensor[None, :, :, 10:50])


def test_bits_of_a_picture_are_the_quantisers() -> None:
    """Also where tokens stand for 2 x 2 cells."""
    latent = torch.randn(2, 8, 64, 64, generator=torch.Generator().manual_seed(0))
    stack = quantise_latent(latent, SCHEDULE, patch=2)
    bits, summed = quantise(latent, [(2 * h, 2 * w) for h, w in SCHEDULE.grids])
    assert stack.bits_per_token == 32 and len(stack) == 2
    torch.testing.assert_close(stack.summed(SCHEDULE, 8, 2), summed)
    last = stack.bits[-1]
    assert last is not None
    tokens = last.transpose(1, 2).unflatten(2, (32, 32)).float()
    cells = torch.nn.functional.pixel_shuffle(tokens, 2)
    assert torch.equal(cells.to(torch.uint8), bits[-1])


def test_placed_pictures_stand_on_whole_tokens() -> None:
    picture = Image.fromarray(np.full((300, 500, 3), 128, dtype=np.uint8))
    placed = place(picture, (0, 250, 75, 0), None, None, None, "1M")
    size = placed.schedule.image_size
    assert size[1] / size[0] == pytest.approx(750 / 375, 0.1)
    assert all(n % 16 == 0 for n in placed.box) and placed.box.left == 0
    assert placed.box.top + placed.box.height == size[0]
    assert placed.box.cut(placed.mask).sum() == 0 and placed.mask.mean() > 0.3
    torch.testing.assert_close(placed.canvas, torch.full_like(placed.canvas, 128 / 255))


@pytest.mark.parametrize("bad", [{"covered": 1.0}, {"covered": -0.1}, {"margin": -1},
                                 {"whole_until": -1}])
def test_regions_are_checked(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a region needs"):
        Region(**bad)  # type: ignore[arg-type]

"""Edits by words: masks out of prompts, and guidance away from a description."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image

from tests.editing.test_inpaint import SMALL, picture, quantised, square
from tests.tiny import tiny_pipeline
from toprovar.editing.words import Disagreement, mask_of
from toprovar.pipeline import InfinityPipeline
from toprovar.planning import make_plan
from toprovar.sampling.head import apply_cfg


@pytest.fixture(scope="module")
def pipeline() -> InfinityPipeline:
    return tiny_pipeline()


def test_guidance_away_is_what_it_says() -> None:
    logits = torch.randn(6, 5, 8, generator=torch.Generator().manual_seed(0))
    target, nothing, source = logits.double().chunk(3)
    expected = (3 * target - 2 * nothing + 0.5 * (target - source)) / 0.7
    found = apply_cfg(logits, 3.0, 0.7, 2, away=0.5)
    torch.testing.assert_close(found, expected.float())
    assert torch.equal(apply_cfg(logits, 3.0, 0.7, 2), apply_cfg(logits[:4], 3.0, 0.7, 2))


@pytest.mark.parametrize("guidance", [4.0, 1.0, [1.0] * 3 + [3.0] * 4])
def test_away_steers_inside_the_mask_alone(pipeline: InfinityPipeline, guidance: Any) -> None:
    image, mask = picture(), square(256, 64, 96, 96)
    def codes(away: float) -> torch.Tensor:
        return pipeline.edit(image, "a cat", "a dog", mask_image=mask, away=away, seed=2,
                             guidance_scale=guidance, output_type="latent").images
    own, found = quantised(pipeline, image, SMALL), codes(1.0)
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[4:10, 6:12] = True
    assert torch.equal(found[:, :, ~inside], own[:, :, ~inside])
    assert not torch.equal(found, codes(0.0))
    plain = pipeline.inpaint(image, mask, "a dog", seed=2, guidance_scale=guidance,
                             output_type="latent").images
    assert torch.equal(codes(0.0), plain)


def test_away_from_the_prompt_itself_is_nothing(pipeline: InfinityPipeline) -> None:
    image, mask = picture(), square(256, 64, 96, 96)
    how: dict[str, Any] = {"mask_image": mask, "seed": 2, "output_type": "latent",
                           "guidance_scale": 3.0}
    same = pipeline.edit(image, "a dog", "a dog", away=2.0, **how).images
    plain = pipeline("a dog", image=image, **how).images
    assert (same == plain).float().mean() > 0.99  # but for rounding


@pytest.mark.parametrize("strategy", ["dense", "toprovar", "fastvar", "fastervar", "ldpruning",
                                      "stop"])
def test_three_kinds_of_rows_under_every_plan(pipeline: InfinityPipeline, strategy: str) -> None:
    plan = make_plan(pipeline, strategy, SMALL)
    image, mask = picture(), square(256, 64, 96, 96)
    found = pipeline.edit(image, ["a cat", "an apple"], ["a dog", "a car"], mask_image=mask,
                          seed=2, plan=plan, output_type="latent")
    own = quantised(pipeline, image, SMALL)
    assert torch.equal(found.images[:, :, 12:], own.expand(2, -1, -1, -1)[:, :, 12:])
    alone = pipeline.edit(image, "an apple", "a car", mask_image=mask, seed=3, plan=plan,
                          output_type="latent").images
    assert torch.equal(found.images[1:], alone)
    assert found.report.rows == 6 and found.report.params["away"] == 0.5


@pytest.mark.parametrize("sign", ["likelihood", "logits", "entropy"])
def test_masks_out_of_words(pipeline: InfinityPipeline, sign: Any) -> None:
    image = picture()
    mask = pipeline.edit_mask(image, "a cat", ["a dog", "a car"], sign)
    assert mask.shape == (2, 1, 256, 256) and set(mask.unique().tolist()) <= {0.0, 1.0}
    assert 0 < mask.mean() < 1
    alone = pipeline.edit_mask(image, "a cat", "a car", sign)
    assert torch.equal(mask[1:], alone)
    quarter = pipeline.edit_mask(image, "a cat", "a car", sign, share=0.25)
    assert 0.2 < quarter.mean() < 0.7  # it grows by a cell
    found = pipeline.edit(image, "a cat", "a car", mask_from=sign, seed=1, output_type="latent")
    kept = alone[0, 0, ::16, ::16] == 0
    own = quantised(pipeline, image, SMALL)
    assert torch.equal(found.images[:, :, kept], own[:, :, kept])


def test_the_mask_is_where_bits_fit_the_prompts_differently() -> None:
    """Against the sign worked out by hand, for one scale."""
    from types import SimpleNamespace

    from toprovar.editing.stack import BitStack

    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 16, 16, generator=random)
    bits = torch.randint(0, 2, (1, 16, 8), generator=random, dtype=torch.uint8)
    looking = Disagreement("likelihood", BitStack(((4, 4),), (bits,)))
    looking(SimpleNamespace(index=0, grid=(4, 4), logits=logits))  # type: ignore[arg-type]
    chances = logits.double().unflatten(-1, (8, 2)).log_softmax(-1)
    own = chances.gather(-1, bits.long().expand(2, -1, -1)[..., None])[..., 0].mean(-1)
    expected = own[1] - own[0]
    found = looking.map((4, 4)).flatten().double()
    torch.testing.assert_close(found, (expected - expected.mean()) / expected.std(), atol=1e-5,
                               rtol=1e-5)


def test_masks_part_a_map_in_two() -> None:
    found = torch.zeros(1, 1, 32, 32)
    found[..., 8:20, 4:16] = 3.0
    found += torch.randn(found.shape, generator=torch.Generator().manual_seed(0)) * 0.3
    mask = mask_of(found, grown=0)
    assert mask[..., 9:19, 5:15].all() and mask.mean() < 0.16
    assert torch.equal(mask_of(found, share=0.1, grown=0).sum(), torch.tensor(103.0))


@pytest.mark.parametrize(("call", "message"), [
    ({"mask_from": "magic"}, "mask_from must be one of"), ({"share": 0.0}, "share must be"),
    ({"share": "x"}, "share must be a number"), ({"away": -1.0}, "away must be 0 or more"),
    ({"source_prompt": ["a", "b", "c"]}, "target_prompt: 2 for 3"),
    ({"cfg_insertion_layer": (-1,)}, "cfg_insertion_layer must hold 0"),
])
def test_bad_edits_get_one_clear_error(pipeline: InfinityPipeline, call: dict[str, Any],
                                       message: str) -> None:
    given: dict[str, Any] = {"source_prompt": "a cat", "target_prompt": ["a dog", "a car"]}
    with pytest.raises(ValueError, match=message):
        pipeline.edit(picture(), seed=1, **(given | call))


def test_a_description_needs_a_picture(pipeline: InfinityPipeline) -> None:
    with pytest.raises(ValueError, match="give image"):
        pipeline("a dog", source_prompt="a cat", away=1.0)
    with pytest.raises(ValueError, match="give source_prompt"):
        pipeline("a dog", image=Image.new("RGB", (256, 256)), away=1.0)

"""Parts of pictures drawn anew: what is kept is kept exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.sampling.plans import index_plan
from tests.sparsity.test_toprovar import NO_REGIONS, calibration
from tests.tiny import tiny_pipeline
from toprovar.editing.edit import Region
from toprovar.editing.source import encode_pictures, read_pictures
from toprovar.pipeline import InfinityPipeline
from toprovar.planning import make_plan
from toprovar.schedules import ScaleSchedule, get_schedule
from toprovar.sparsity.strategies.toprovar.in_run import ToProVar
from toprovar.sparsity.strategies.toprovar.settings import ToProVarSettings

SMALL, MIDDLE = get_schedule("1.0", "0.06M"), get_schedule("1.0", "0.25M")


@pytest.fixture(scope="module")
def pipeline() -> InfinityPipeline:
    return tiny_pipeline()


def picture(size: int = 256, seed: int = 0) -> Image.Image:
    """Smooth colours with sharp squares."""
    random = np.random.default_rng(seed)
    low = Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8))
    array = np.array(low.resize((size, size), Image.Resampling.BICUBIC))
    array[size // 4 : size // 3, size // 2 :] = random.integers(0, 255, 3)
    return Image.fromarray(array)


def square(size: int, top: int, left: int, side: int) -> Image.Image:
    mask = np.zeros((size, size), dtype=np.uint8)
    mask[top : top + side, left : left + side] = 255
    return Image.fromarray(mask)


def quantised(pipeline: InfinityPipeline, image: Image.Image, schedule: ScaleSchedule
              ) -> torch.Tensor:
    stack = encode_pictures(pipeline.vae, read_pictures(image), schedule)
    return stack.summed(schedule, 8, 1)


def test_strength_0_gives_back_the_quantised_picture(pipeline: InfinityPipeline) -> None:
    image = picture()
    calls: list[dict[str, Any]] = [{}, {"guidance_scale": 1.0},
                                   {"mask_image": square(256, 0, 0, 64)}]
    for call in calls:
        found = pipeline.vary(image, "a cat", strength=0.0, seed=1, output_type="latent", **call)
        assert torch.equal(found.images, quantised(pipeline, image, SMALL))
        assert len(found.report.scales) == 1  # and nothing is computed for it


def test_strength_1_is_a_new_picture(pipeline: InfinityPipeline) -> None:
    found = pipeline.vary(picture(), "a cat", strength=1.0, seed=1, output_type="latent").images
    assert torch.equal(found, pipeline("a cat", seed=1, output_type="latent").images)


def test_strength_between_keeps_the_first_scales(pipeline: InfinityPipeline) -> None:
    from toprovar.editing.draft import Recorder

    image = picture()
    source = encode_pictures(pipeline.vae, read_pictures(image), SMALL)
    shares = []
    for strength in (0.2, 0.5, 0.6, 0.9):
        kept = Recorder()
        pipeline.vary(image, "a cat", strength=strength, seed=1, on_scale=kept)
        stack = kept.stack(SMALL)
        same = [float((a == b).float().mean())  # type: ignore[union-attr]
                for a, b in zip(stack.bits, source.bits, strict=True)]
        whole = int(strength * 7 + 1e-9)
        assert all(s == 1 for s in same[: 7 - whole - 1])
        assert all(s < 0.9 for s in same[7 - whole :])
        if strength == 0.5:  # half of the 36 tokens of the scale between
            assert same[3] < 1
        shares.append(sum(same))
    assert shares == sorted(shares, reverse=True)


def test_codes_outside_of_the_mask_are_the_sources(pipeline: InfinityPipeline) -> None:
    image, mask = picture(512), square(512, 100, 200, 128)
    calls: list[dict[str, Any]] = [
        {}, {"guidance_scale": 1.0}, {"strength": 0.5}, {"greedy": True},
        {"region": Region(whole_until=99)}, {"region": Region(0.0, 0, 4)}]
    for call in calls:
        found = pipeline.inpaint(image, mask, ["a cat", "a dog"], seed=3, schedule=MIDDLE,
                                 output_type="latent", **call).images
        own = quantised(pipeline, image, MIDDLE)
        inside = torch.zeros(32, 32, dtype=torch.bool)
        inside[100 // 16 : 15, 200 // 16 : 21] = True
        assert (found != own)[:, :, ~inside].sum() == 0
        assert (found != own)[:, :, inside].float().mean() > 0.5
        assert not torch.equal(found[0], found[1])


STRATEGIES = ("dense", "toprovar", "fastvar", "fastervar", "ldpruning", "stop", "window",
              "scalekv", "skipvar")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_plan_keeps_what_is_outside(pipeline: InfinityPipeline, strategy: str) -> None:
    image, mask = picture(512), square(512, 96, 192, 128)
    try:
        plan = make_plan(pipeline, strategy, MIDDLE)
    except ValueError as error:
        pytest.skip(f"{strategy} does not plan for a model this small: {error}")
    found = pipeline.inpaint(image, mask, "a cat", seed=3, schedule=MIDDLE, plan=plan,
                             output_type="latent", region=Region(whole_until=12))
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[6:14, 12:20] = True
    own = quantised(pipeline, image, MIDDLE)
    assert (found.images != own)[:, :, ~inside].sum() == 0
    assert (found.images != own)[:, :, inside].any()
    report = found.report
    whole = pipeline("a cat", seed=3, schedule=MIDDLE, plan=plan, output_type="latent").report
    assert report.token_layers <= whole.token_layers
    if strategy in ("dense", "stop", "window"):
        assert report.token_layers < whole.token_layers


def test_a_plan_made_in_the_run_works_inside_the_mask(pipeline: InfinityPipeline) -> None:
    plan = ToProVar(ToProVarSettings(dropped="cached", planned="run", **NO_REGIONS), calibration())
    image, mask = picture(), square(256, 64, 96, 64)
    how: dict[str, Any] = {"seed": 3, "plan": plan, "output_type": "latent"}
    found = pipeline.inpaint(image, mask, ["a cat", "a dog"], region=Region(whole_until=12), **how)
    own = quantised(pipeline, image, SMALL)
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[4:8, 6:10] = True
    assert (found.images != own)[:, :, ~inside].sum() == 0
    whole = pipeline(["a cat", "a dog"], **how).report
    assert found.report.token_layers < whole.token_layers


@pytest.mark.parametrize("dropped", ["exit", "cached", "identity"])
def test_plans_that_drop_tokens_in_every_scale(pipeline: InfinityPipeline, dropped: str) -> None:
    kept = {(s, layer): torch.arange(MIDDLE.tokens[s] // 2) for s in range(3, 10)
            for layer in range(3)}
    plan = index_plan(pipeline.transformer.shape, MIDDLE, kept, dropped=dropped)
    image, mask = picture(512), square(512, 96, 192, 128)
    found = pipeline.inpaint(image, mask, ["a cat", "a dog"], seed=3, schedule=MIDDLE, plan=plan,
                             output_type="latent").images
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[6:14, 12:20] = True
    own = quantised(pipeline, image, MIDDLE)
    assert (found != own)[:, :, ~inside].sum() == 0
    assert torch.equal(
        pipeline.vary(image, "a cat", strength=0.0, schedule=MIDDLE, plan=plan,
                      output_type="latent").images, own)


def test_a_margin_over_the_whole_picture_computes_everything(pipeline: InfinityPipeline) -> None:
    """Restricted to all of it, a run is the run that is not restricted, bit for bit."""
    image, mask = picture(512), square(512, 96, 192, 128)
    def codes(region: Region) -> torch.Tensor:
        return pipeline.inpaint(image, mask, "a cat", seed=3, schedule=MIDDLE, region=region,
                                output_type="latent").images
    assert torch.equal(codes(Region(margin=40, whole_until=0)), codes(Region(whole_until=99)))


def test_the_same_seed_is_the_same_picture(pipeline: InfinityPipeline) -> None:
    image, mask = picture(), square(256, 64, 64, 96)
    def codes(seed: int, prompt: Any = "a cat") -> torch.Tensor:
        return pipeline.inpaint(image, mask, prompt, seed=seed, output_type="latent").images
    pair = codes(4, ["a cat", "a dog"])
    assert torch.equal(pair[:1], codes(4)) and torch.equal(pair[1:], codes(5, "a dog"))
    assert not torch.equal(codes(4), codes(5))


def test_several_sources_and_masks(pipeline: InfinityPipeline) -> None:
    images, masks = [picture(seed=0), picture(seed=1)], [square(256, 0, 0, 96),
                                                         square(256, 160, 160, 96)]
    both = pipeline.inpaint(images, masks, ["a cat", "a dog"], seed=4, output_type="latent").images
    for i, (image, mask, prompt) in enumerate(zip(images, masks, ["a cat", "a dog"], strict=True)):
        alone = pipeline.inpaint(image, mask, prompt, seed=4 + i, output_type="latent").images
        assert torch.equal(both[i : i + 1], alone)
    with pytest.raises(ValueError, match="image holds 2 pictures for 3"):
        pipeline.vary(images, ["a cat"] * 3, seed=1)
    with pytest.raises(ValueError, match="mask_image holds 2 pictures for 1"):
        pipeline.inpaint(images[0], masks, "a cat", seed=1)


def test_blending_brings_back_the_given_pixels(pipeline: InfinityPipeline) -> None:
    image, mask = picture(), square(256, 64, 96, 64)
    for blend, reach in ((0, 0), (16, 16)):
        found = pipeline.inpaint(image, mask, "a cat", seed=2, blend=blend).images[0]
        outside = np.ones((256, 256), dtype=bool)
        outside[64 - reach : 128 + reach, 96 - reach : 160 + reach] = False
        np.testing.assert_array_equal(np.array(found)[outside], np.array(image)[outside])
        plain = np.array(pipeline.inpaint(image, mask, "a cat", seed=2, blend=None).images[0])
        inside = np.array(found)[64:128, 96:160].astype(int)
        assert np.abs(inside - plain[64:128, 96:160]).max() <= 1
    kinds = [pipeline.inpaint(image, mask, "a cat", seed=2, blend=16, output_type=kind).images
             for kind in ("pt", "np")]
    np.testing.assert_allclose(kinds[0].permute(0, 2, 3, 1).numpy(), kinds[1], atol=1e-6)


def test_only_the_masks_surroundings_are_drawn(pipeline: InfinityPipeline) -> None:
    image, mask = picture(400), square(400, 300, 40, 50)
    found = pipeline.inpaint(image, mask, "a cat", seed=2, padding_mask_crop=20).images[0]
    assert found.size == (400, 400)
    changed = (np.array(found) != np.array(image)).any(2)
    rows, columns = changed.any(1).nonzero()[0], changed.any(0).nonzero()[0]
    assert rows.min() >= 300 - 17 and rows.max() < 350 + 17
    assert columns.min() >= 40 - 17 and columns.max() < 90 + 17
    assert changed[300:350, 40:90].mean() > 0.9


def test_a_picture_is_drawn_at_its_own_size(pipeline: InfinityPipeline,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    """At 256 px, though the model's own size is larger; a size, a plan or a crop says otherwise."""
    large = pipeline
    monkeypatch.setitem(large._internal_dict, "default_pn", "0.25M")
    mask = square(256, 64, 64, 64)

    def drawn(**how: Any) -> tuple[tuple[int, int], tuple[str, ...]]:
        found = large.inpaint(picture(256), mask, "a cat", seed=1, blend=4, **how)
        assert found.images[0].size == (256, 256)
        assert isinstance(found.report.params, dict)
        last = found.report.params["schedule"]["grids"][-1]
        return tuple(16 * n for n in last), found.report.notes

    assert drawn() == ((256, 256), ())
    asked = drawn(height=512)
    assert asked[0] == (512, 512)
    plan = make_plan(large, "fastvar", MIDDLE)
    size, notes = drawn(plan=plan)
    assert size == (512, 512)
    assert "the picture of 256x256 pixels was drawn at 512x512" in notes
    assert drawn(padding_mask_crop=8)[0] == (512, 512)
    small = large.vary(picture(300), "a cat", seed=1)
    assert small.images[0].size == (256, 256)
    assert small.report.notes == (
        "the picture of 300x300 pixels was drawn at 256x256, the nearest listed size",)


def test_outpainting_keeps_the_picture(pipeline: InfinityPipeline) -> None:
    image = picture(256)
    found = pipeline.outpaint(image, "a cat", seed=1, right=256, blend=0)
    assert found.images[0].size == (352, 176) and "drawn at 352x176" in found.report.notes[0]
    placed = pipeline.outpaint(image, "a cat", seed=1, height=512, width=512, blend=0,
                               schedule=MIDDLE).images[0]
    np.testing.assert_array_equal(np.array(placed)[128:384, 128:384], np.array(image))
    for bad, message in (({}, "nothing is added"), ({"left": -1}, "left"),
                         ({"height": 300}, "together"), ({"height": 100, "width": 100}, "height"),
                         ({"left": 5, "height": 512, "width": 512}, "either left"),
                         ({"left": 1}, "less than a token")):
        with pytest.raises(ValueError, match=message):
            pipeline.outpaint(image, "a cat", **bad)  # type: ignore[arg-type]


def test_drafts_bits_and_latents_are_sources(pipeline: InfinityPipeline) -> None:
    draft = pipeline.draft("a cat", seed=4, until=None)
    whole = pipeline("a cat", seed=4, output_type="latent").images
    same = pipeline.vary(draft, "a cat", strength=0.0, output_type="latent").images
    assert torch.equal(same, whole)
    other = pipeline.vary(draft, "a cat", strength=0.3, seed=99, output_type="latent").images
    assert not torch.equal(other, whole)
    mask = square(256, 0, 0, 128)
    part = pipeline.inpaint(draft, mask, "a dog", seed=1, output_type="latent").images
    assert torch.equal(part[:, :, 8:], whole[:, :, 8:])
    pasted = pipeline.inpaint(draft, mask, "a dog", seed=1, blend=8).images[0]
    plain = pipeline("a cat", seed=4).images[0]
    assert np.abs(np.array(pasted)[160:].astype(int) - np.array(plain)[160:]).max() <= 1
    latent = pipeline.vae.encode(read_pictures(picture()) * 2 - 1)
    again = pipeline.vary(latent, "a cat", strength=0.0, output_type="latent").images
    assert torch.equal(again, quantised(pipeline, picture(), SMALL))
    with pytest.raises(ValueError, match="schedule"):
        pipeline.vary(draft.stack, "a cat")
    part = pipeline.draft("a cat", seed=4, until=8)
    with pytest.raises(ValueError, match="must be finished"):
        pipeline.inpaint(part, mask, "a cat")


@pytest.mark.parametrize(("call", "message"), [
    ({"mask_image": Image.new("L", (64, 64))}, "black everywhere"),
    ({"mask_image": "mask.png"}, "must be a PIL image"),
    ({"mask_image": np.zeros((4, 4, 3, 1, 1))}, r"must be \[h, w\]"),
    ({"mask_image": torch.full((8, 8), 7.0)}, "numbers from 0"),
    ({"mask_image": torch.full((8, 8), float("nan"))}, "numbers from 0"),
    ({"mask_image": []}, "empty list"),
    ({"strength": 1.5}, "strength must be between"),
    ({"strength": "much"}, "strength must be a number"),
    ({"padding_mask_crop": 8}, "give mask_image"),
    ({"blend": 8}, "give mask_image"),
    ({"mask_image": Image.new("L", (64, 64), 255), "blend": -1}, "blend"),
    ({"image": None, "strength": 0.5}, "give image as well"),
    ({"image": "a.png"}, "image must be a PIL image"),
    ({"image": []}, "empty list"),
    ({"image": torch.zeros(2, 4, 8, 8)}, "three colours"),
    ({"image": torch.full((1, 3, 8, 8), 4.0)}, "numbers from 0 to 1"),
    ({"image": torch.zeros(1, 8, 5, 5)}, "latent of 5 x 5"),
    ({"image": Image.new("RGB", (900, 90))}, "far from all"),
    ({"region": 5}, "region must be a Region"),
])
def test_bad_arguments_get_one_clear_error(pipeline: InfinityPipeline, call: dict[str, Any],
                                           message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        given: dict[str, Any] = {"image": picture()}
        pipeline("a cat", **(given | call))
    assert "\n" not in str(caught.value)


def test_an_interrupt_leaves_the_source_outside(pipeline: InfinityPipeline) -> None:
    def stop(pipe: InfinityPipeline, step: int, timestep: int, values: dict) -> None:
        pipe.interrupt = step == 3

    image, mask = picture(), square(256, 0, 0, 128)
    found = pipeline.inpaint(image, mask, "a cat", seed=1, output_type="latent",
                             callback_on_step_end=stop)
    assert "interrupted after 4 of 7 scales" in found.report.notes
    own = quantised(pipeline, image, SMALL)
    assert torch.equal(found.images[:, :, 8:], own[:, :, 8:])

"""Pictures edited by a pipeline call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.tiny import tiny_pipeline
from toprovar.entropy.trace import TraceRecorder
from toprovar.planning import make_plan
from toprovar.schedules import get_schedule
from toprovar.source_pictures import Frame, canvas_of, central, framed, restored, source_features

SQUARE = (256, 256)


@pytest.fixture(scope="module")
def pipe() -> Any:
    return tiny_pipeline(family="varedit")


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    generator = np.random.default_rng(seed)
    return Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))


def equal(a: Image.Image, b: Image.Image) -> bool:
    return a.size == b.size and a.tobytes() == b.tobytes()


@pytest.mark.parametrize(("size", "drawn", "canvas"), [
    ((300, 45), SQUARE, (300, 300)), ((45, 300), SQUARE, (300, 300)), ((7, 7), SQUARE, (7, 7)),
    ((100, 100), (192, 336), (100, 175)), ((100, 200), (192, 336), (115, 200)),
    ((1, 9), (336, 192), (16, 9)),
])
def test_canvases(size: tuple[int, int], drawn: tuple[int, int], canvas: tuple[int, int]) -> None:
    assert canvas_of(size, drawn) == canvas


def test_padding_is_white_at_the_right_and_below() -> None:
    image = Image.new("RGB", (60, 30), (10, 20, 30))
    square, frame = framed(image, SQUARE)
    pixels = np.asarray(square)
    assert frame == Frame((30, 60), (60, 60)) and square.size == (256, 256)
    assert (pixels[:110] == (10, 20, 30)).all() and (pixels[146:] == 255).all()
    assert equal(restored(square, frame).crop((0, 0, 60, 20)), image.crop((0, 0, 60, 20)))


def test_transparency_is_dropped() -> None:
    image = Image.new("RGBA", (8, 8), (200, 100, 50, 0))
    assert np.asarray(framed(image, (16, 16))[0]).reshape(-1, 3).tolist() == [[200, 100, 50]] * 256


def test_the_middle_part() -> None:
    image = noise(70, 40)
    assert equal(central(image, SQUARE), image.crop((15, 0, 55, 40)))
    assert central(noise(40, 70), (336, 192)).size == (40, 70)
    square, frame = framed(image, SQUARE, crop=True)
    assert frame == Frame((40, 40), (40, 40))
    assert equal(square, image.crop((15, 0, 55, 40)).resize((256, 256), Image.Resampling.LANCZOS))


def test_the_encoder_computes_in_float32(pipe: Any) -> None:
    square, _ = framed(noise(40, 40), SQUARE)
    wide = source_features(pipe.vae, square)
    narrow = tiny_pipeline(family="varedit").vae.to(torch.bfloat16)
    found = source_features(narrow, square)
    rounded = {n: p.to(torch.bfloat16).float() for n, p in pipe.vae.encoder.named_parameters()}
    pixels = (torch.from_numpy(np.asarray(square).copy()).float() / 255 * 2 - 1).permute(2, 0, 1)
    with torch.inference_mode():
        folded = torch.nn.functional.pixel_unshuffle(pixels[None], pipe.vae.shape.stem_patch)
        exact = torch.func.functional_call(pipe.vae.encoder, rounded, (folded,))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, atol=1e-4, rtol=1e-4)
    assert not torch.equal(found, wide)


def test_results_have_the_size_of_their_source(pipe: Any) -> None:
    wide, tall = noise(70, 40), noise(40, 70, 1)
    done = pipe("a red cat", image=[wide, tall], seed=[3, 4])
    assert [image.size for image in done.images] == [(70, 40), (40, 70)]
    assert equal(done.images[1], pipe("a red cat", image=tall, seed=4).images[0])
    report = done.report
    assert report.source.tokens == 256 and report.seconds["source"] > 0
    assert report.kv_bytes > report.source.cached > 0
    assert report.to_json()["source"]["rows"] == 4
    square = pipe("a red cat", image=wide, seed=3, crop=True).images[0]
    assert square.size == (40, 40)


def test_one_picture_for_several_instructions(pipe: Any) -> None:
    image = noise(50, 50)
    done = pipe(["a red cat", "two dog"], image=image, seed=[1, 2, 3, 4], num_images_per_prompt=2)
    assert len(done.images) == 4
    for i, prompt in ((0, "a red cat"), (3, "two dog")):
        assert equal(done.images[i], pipe(prompt, image=image, seed=i + 1).images[0])
    assert not equal(done.images[0], done.images[1])


def test_the_source_matters(pipe: Any) -> None:
    one, other = (pipe("a red cat", image=noise(50, 50, s), seed=1, output_type="latent").images
                  for s in (0, 1))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("kind", ["pil", "np", "pt", "uint8"])
def test_pictures_in_other_forms(pipe: Any, kind: str) -> None:
    image = noise(60, 40)
    array = np.asarray(image)
    given: Any = {"pil": image, "np": array.astype(np.float32) / 255, "uint8": array,
                  "pt": torch.from_numpy(array.copy()).permute(2, 0, 1).float() / 255}[kind]
    assert equal(pipe("a cat", image=given, seed=1).images[0],
                 pipe("a cat", image=image, seed=1).images[0])
    if kind == "pt":
        batch = torch.stack([given, given])
        assert len(pipe("a cat", image=batch, seed=1).images) == 2


def test_results_in_other_forms(pipe: Any) -> None:
    image = noise(60, 40)
    pil = np.asarray(pipe("a cat", image=image, seed=1).images[0]).astype(float)
    array = pipe("a cat", image=image, seed=1, output_type="np").images
    tensor = pipe("a cat", image=image, seed=1, output_type="pt").images
    assert array.shape == (1, 40, 60, 3) and tensor.shape == (1, 3, 40, 60)
    assert np.abs(array[0] * 255 - pil).max() < 3  # truncated to whole levels there
    np.testing.assert_array_equal(tensor[0].permute(1, 2, 0).numpy(), array[0])
    with pytest.raises(ValueError, match=r"several sizes.*use output_type='pil'"):
        pipe("a cat", image=[image, noise(40, 60)], seed=1, output_type="np")


def test_pictures_are_told_of_at_their_own_size(pipe: Any) -> None:
    told = []
    pipe("a cat", image=[noise(60, 40), noise(40, 60)], seed=1,
         on_image=lambda i, picture, report: told.append((i, picture.size)))
    assert told == [(0, (60, 40)), (1, (40, 60))]


def test_other_aspects_are_drawn_with_a_note(pipe: Any) -> None:
    done = pipe("a cat", image=noise(100, 57), seed=1, height=192, width=336)
    assert done.images[0].size == (100, 57)
    assert any("trained on squares" in note for note in done.report.notes)


@pytest.mark.parametrize("name", ["fastvar", "skipvar", "toprovar", "scalekv", "auto"])
def test_strategies_apply(pipe: Any, name: str) -> None:
    image, schedule = noise(50, 50), get_schedule("1.0", "0.06M")
    plan = make_plan(pipe, name, schedule, budget=0.7 if name == "toprovar" else None)
    done = pipe(["a cat", "a dog"], image=image, seed=[1, 2], plan=plan)
    assert len(done.images) == 2
    report = done.reports[0]
    share = report.token_layers / report.dense_token_layers
    assert share == 1 if name in ("scalekv", "auto") else 0.3 < share < 1
    if name == "toprovar":
        assert report.used_plan.predicted.flop_share <= 0.7
        assert any("none that edits pictures" in note for note in report.notes)


def test_entropies_of_an_edit(pipe: Any) -> None:
    recorder, schedule = TraceRecorder(), get_schedule("1.0", "0.06M")
    pipe("a cat", image=noise(50, 50), seed=1, watch=recorder)
    trace = recorder.trace(schedule, 3, edits=True)
    assert trace.maps[6, 2].max() <= np.log(trace.keys[6, 2])


def test_interrupted(pipe: Any) -> None:
    def stop(pipeline: Any, step: int, *_: Any) -> dict[str, Any]:
        pipeline.interrupt = step == 2
        return {}

    done = pipe("a cat", image=noise(60, 40), seed=1, callback_on_step_end=stop)
    assert done.images[0].size == (60, 40) and "interrupted after 3" in str(done.report.notes)


@pytest.mark.parametrize(("how", "message"), [
    ({}, "this is a VAREdit model, which edits a picture: give image=.*toprovar instruct"),
    ({"image": 5}, "image must be a picture of PIL, .* got int"),
    ({"image": np.zeros((4, 4))}, r"got ndarray of shape \[4, 4\]"),
    ({"image": np.zeros((0, 4, 3), np.uint8)}, r"image is empty: .*\[0, 4, 3\]"),
    ({"image": np.full((4, 4, 3), 2.0)}, "floats between 0 and 1, got float64 outside"),
    ({"image": np.full((4, 4, 3), np.nan)}, "floats between 0 and 1"),
    ({"image": []}, "0 pictures for 1 prompts"),
    ({"image": [noise(4, 4)] * 3, "prompt": ["a cat", "a dog"]}, "3 pictures for 2 prompts"),
    ({"image": noise(4, 4), "crop": 1}, "crop must be True or False, got 1"),
    ({"image": Image.new("1", (20000, 1))}, "sides of 1 to 16384 pixels, got 20000 x 1"),
])
def test_impossible_calls(pipe: Any, how: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pipe(**{"prompt": "a cat", "seed": 1, **how})


def test_arguments_of_the_other_family(pipe: Any) -> None:
    with pytest.raises(ValueError, match=r"strength: this is a VAREdit model"):
        pipe("a cat", image=noise(4, 4), strength=0.5)
    with pytest.raises(ValueError, match=r"mask_image: this is a VAREdit model"):
        pipe("a cat", image=noise(4, 4), mask_image=noise(4, 4))
    with pytest.raises(ValueError, match="crop works only with VAREdit models"):
        tiny_pipeline()("a cat", image=noise(4, 4), crop=True)
    with pytest.raises(ValueError, match="edit: this is a VAREdit model"):
        pipe.draft("a cat", seed=1)

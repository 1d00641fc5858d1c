"""Parts of pictures drawn anew, through the queue: masks, canvases, words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.comfyui.client import Client
from tests.comfyui.edits import EDIT, edited, encoded, inpainted, rectangle, saved
from tests.comfyui.test_runs import pictures
from tests.comfyui.test_vary import error, latents
from tests.comfyui.workflows import node, own

BOX = np.s_[96:160, 64:160]
"""Rows and columns of the mask."""


def differing(client: Client, done: Any) -> np.ndarray[Any, Any]:
    """[H, W] bool: pixels that are not the given picture's."""
    given, found = pictures(client, done)[0], pictures(client, done, "out")[0]
    return (given != found).any(-1)


@pytest.mark.parametrize("blend", [0, 8])
def test_pixels_outside_of_the_mask_are_the_pictures(client: Client, blend: int) -> None:
    differs = differing(client, client.run(inpainted(blend=blend)))
    near = np.zeros_like(differs)
    near[96 - blend : 160 + blend, 64 - blend : 160 + blend] = True
    assert not differs[~near].any() and differs[BOX].mean() > 0.9


@pytest.mark.parametrize("bits", [False, True])
def test_codes_outside_of_the_mask_are_the_sources(client: Client, bits: bool) -> None:
    prompt = inpainted(blend=-1)
    prompt["code"] = encoded(image=["sample", 0])
    if bits:
        prompt["paint"]["inputs"]["image"] = ["code", 0]
    prompt["zero"] = own("Sampler", **{**prompt["sample"]["inputs"], "latent_image": ["code", 0],
                                       "denoise": 0.0, "pixels": "auto"})
    prompt["before"] = node("SaveLatent", samples=["zero", 1], filename_prefix="before")
    prompt["after"] = node("SaveLatent", samples=["paint", 1], filename_prefix="after")
    before, after = latents(client, client.run(prompt), "before", "after")
    inside = np.zeros((16, 16), dtype=bool)
    inside[6:10, 4:10] = True
    differs = (before != after).any((0, 1))
    assert not differs[~inside].any() and differs[inside].mean() > 0.9


def test_a_part_costs_less_than_a_picture(client: Client) -> None:
    prompt = inpainted(pixels="0.25M")
    del prompt["paint"]["inputs"]["plan"]
    run = client.run(prompt).outputs["paint"]["toprovar_report"][0]["runs"][0]
    assert run["flop_share"] < 0.8


def test_feather_widens_the_mask_softly(client: Client) -> None:
    prompt = inpainted(blend=0, feather=24)
    prompt["soft"] = node("MaskToImage", mask=["paint", 3])
    prompt["seen"] = saved(["soft", 0], "mask")
    done = client.run(prompt)
    mask = pictures(client, done, "seen")[0][..., 0]
    assert mask[BOX].min() == 255 and 0 < mask[128, 52] < 255 and mask[:, 20].max() == 0
    differs = differing(client, done)
    assert differs[128, 50:64].any()
    differs[96 - 24 : 160 + 24, 64 - 24 : 160 + 24] = False
    assert not differs.any()


def test_denoise_0_changes_nothing_inside_either(client: Client) -> None:
    prompt = inpainted(denoise=0.0, blend=-1)
    prompt["code"] = encoded(image=["sample", 0])
    prompt["seen"] = saved(["code", 1], "seen")
    done = client.run(prompt)
    np.testing.assert_array_equal(pictures(client, done, "out"), pictures(client, done, "seen"))


def test_pictures_of_any_size_come_back_at_it(client: Client) -> None:
    prompt = {**inpainted(image=["larger", 0], crop_padding=16), **rectangle(40, 40, 60, 50, 300)}
    prompt["black"]["inputs"]["width"] = 360
    prompt["larger"] = node("ImageScale", image=["sample", 0], upscale_method="bilinear", width=360,
                            height=300, crop="disabled")
    prompt["given"] = saved(["larger", 0], "larger")
    for crop in (-1, 16):
        prompt["paint"]["inputs"] |= {"crop_padding": crop, "blend": 4, "pixels": "auto"}
        del prompt["paint"]["inputs"]["plan"]
        done = client.run(prompt)
        given, found = (pictures(client, done, name)[0] for name in ("given", "out"))
        assert found.shape == given.shape == (300, 360, 3)
        differs = (given != found).any(-1)
        near = np.zeros_like(differs)
        near[36:94, 36:104] = True
        # The background is plain: drawn anew, some of it has the very colours of the picture.
        assert not differs[~near].any() and differs[50:80, 50:90].mean() > 0.5
        prompt["paint"]["inputs"]["plan"] = ["plan", 0]


def test_a_batch_is_painted_picture_by_picture(client: Client) -> None:
    prompt = inpainted(blend=0)
    prompt["sample"]["inputs"]["images"] = 2
    done = client.run(prompt)
    given, found = pictures(client, done), pictures(client, done, "out")
    differs = (given != found).any(-1)
    outside = np.ones((256, 256), dtype=bool)
    outside[BOX] = False
    assert not differs[:, outside].any() and differs[:, 96:160, 64:160].mean() > 0.9
    prompt["paint"]["inputs"]["conditioning"] = ["three", 0]
    prompt["three"] = own("TextEncode", text_encoder=["load", 1], text="a cat\na dog\na car",
                          prompt_per_line=True)
    assert "image holds 2 pictures for 3 to be drawn" in error(client, prompt, "paint")


@pytest.mark.parametrize("feathering", [0, 32])
def test_pad_image_for_outpainting(client: Client, feathering: int) -> None:
    """The picture stands on a canvas of a size that the model knows, its pixels as they were."""
    prompt = inpainted(image=["pad", 0], mask=["pad", 1], pixels="auto", blend=0)
    del prompt["paint"]["inputs"]["plan"]
    prompt["pad"] = node("ImagePadForOutpaint", image=["sample", 0], left=0, top=0, right=128,
                         bottom=0, feathering=feathering)
    done = client.run(prompt)
    given, found = pictures(client, done)[0], pictures(client, done, "out")[0]
    report = done.outputs["paint"]["toprovar_report"][0]["runs"][0]
    assert found.shape[0] % 16 == found.shape[1] % 16 == 0
    assert abs(found.shape[1] / found.shape[0] - 1.5) < 0.1
    assert any("nearest listed size" in note for note in report["notes"])
    # Where the picture is, shrunk or enlarged to the canvas, it is the picture.
    from PIL import Image

    side = found.shape[0]
    shown = np.asarray(Image.fromarray(given).resize((side, side), Image.Resampling.BICUBIC))
    kept = np.abs(shown.astype(int) - found[:, :side])[:, : side // 2].mean()
    assert kept < 4
    new = found[:, side + 32 :].astype(int)
    assert new.std() > 1 and np.abs(new - 127).mean() > 5  # no grey is left


@pytest.mark.parametrize(("changes", "said"), [
    ({"mask": ["black", 0]}, "black everywhere, so nothing would be drawn"),
    ({"plan": ["large", 0]}, "use the plan's size, or make a plan for this one"),
    ({"image": ["draft", 0]}, "a draft must be finished"),
    ({"image": ["code", 0], "crop_padding": 8}, "needs a picture of pixels"),
])
def test_what_cannot_be_painted_says_so(client: Client, changes: dict[str, Any], said: str
                                        ) -> None:
    from tests.comfyui.edits import draft
    from tests.comfyui.workflows import planner

    prompt = inpainted(**changes)
    prompt |= {"draft": draft(), "code": encoded(image=["sample", 0]),
               "large": planner(strategy="dense", pixels="0.25M")}
    assert said in error(client, prompt, "paint")


def test_an_edit_finds_its_mask_and_keeps_the_rest(client: Client) -> None:
    prompt = edited(blend=0)
    prompt["soft"] = node("MaskToImage", mask=["edit", 3])
    prompt["seen"] = saved(["soft", 0], "mask")
    done = client.run(prompt)
    mask = pictures(client, done, "seen")[0][..., 0] > 0
    assert 0.02 < mask.mean() < 0.7
    differs = differing(client, done)
    assert not differs[~mask].any() and differs[mask].mean() > 0.8


def test_an_edit_takes_a_mask_a_share_and_drafts(client: Client) -> None:
    prompt = {**edited(mask=["mask", 0], blend=0), **rectangle(64, 96, 96, 64)}
    differs = differing(client, client.run(prompt))
    outside = np.ones_like(differs)
    outside[BOX] = False
    assert not differs[outside].any() and differs[BOX].mean() > 0.8
    shares = []
    for share in (0.1, 0.5):
        prompt = edited(mask_share=share, image=["code", 0], blend=-1, away=0.0)
        prompt["code"] = encoded(image=["sample", 0])
        prompt["soft"] = node("MaskToImage", mask=["edit", 3])
        prompt["seen"] = saved(["soft", 0], "mask")
        shares.append((pictures(client, client.run(prompt), "seen") > 0).mean())
    assert shares[0] < 0.4 < shares[1]


def test_signs_are_the_engines(client: Client) -> None:
    from toprovar.editing.words import MASKS_FROM
    from toprovar.pipeline_words import AWAY

    known = client.json("/object_info/ToProVAR_Edit")["ToProVAR_Edit"]["input"]["required"]
    assert known["mask_from"][1]["options"] == list(MASKS_FROM)
    assert known["away"][1]["default"] == AWAY == EDIT["away"]

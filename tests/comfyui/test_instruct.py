"""Infinity Instruct, with a tiny VAREdit model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.comfyui.client import Client
from tests.comfyui.server import Installation, Server, environment
from tests.comfyui.test_runs import pictures
from tests.comfyui.test_vary import error
from tests.comfyui.workflows import node, own
from tests.tiny import tiny_pipeline

ROOT = Path(__file__).resolve().parents[2]
DIRECT = """
import sys
from PIL import Image
from toprovar.pipeline import InfinityPipeline
pipe = InfinityPipeline.from_folder(sys.argv[1])
done = pipe("a red cat", image=Image.open(sys.argv[2]), seed=5, num_images_per_prompt=2, tau=1.0,
            prompt_weights=True, top_p=0.97)
for n, one in enumerate(done.images):
    one.save(f"{sys.argv[3]}/{n}.png")
"""


@pytest.fixture(scope="module")
def picture(server: Server) -> Path:
    """A picture in ComfyUI's input folder, beside models of both families."""
    for name, family in (("editing", "varedit"), ("drawing", "infinity")):
        folder = server.base / "models" / "infinity" / name
        if not folder.exists():
            tiny_pipeline(family=family).save_pretrained(folder)
    path = server.base / "input" / "instruct.png"
    path.parent.mkdir(exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def prompt(model: str = "editing", family: str = "auto", load: dict[str, Any] | None = None,
           **changes: Any) -> dict[str, Any]:
    values = {
        "model": ["load", 0], "image": ["picture", 0], "instruction": "a red cat", "seed": 5,
        "images": 2, "crop": False, "pixels": "auto", "cfg": 0.0, "tau": 1.0, "top_p": 0.97,
        "preview": "decoded"} | changes
    return {
        "load": own("LoadInfinity", model=model, vae="the model's own",
                    text_encoder="the model's own", dtype="float32", attention="auto",
                    memory="auto", family=family, **(load or {})),
        "picture": node("LoadImage", image="instruct.png"),
        "again": own("Instruct", **values),
        "save": node("SaveImage", images=["again", 0], filename_prefix="instructed"),
    }


def test_it_is_the_engines_picture(client: Client, server: Server, picture: Path, tmp_path: Path,
                                   installation: Installation) -> None:
    done = client.run(prompt())
    found = pictures(client, done)
    assert found.shape == (2, 40, 70, 3)
    report = done.outputs["again"]["toprovar_report"][0]
    assert report["images"] == 2 and report["runs"][0]["plan"] == "dense"
    assert report["runs"][0]["source"]["tokens"] > 0
    subprocess.run(
        [str(installation.python), "-c", DIRECT, str(server.base / "models/infinity/editing"),
         str(picture), str(tmp_path)],
        check=True, env={**environment(), "PYTHONPATH": str(ROOT)}, stdout=sys.stderr)
    direct = np.stack([np.asarray(Image.open(tmp_path / f"{n}.png")) for n in range(2)])
    # IMAGE is of float32 numbers, which Save Image cuts off; the pipeline rounds
    assert np.abs(found.astype(int) - direct).max() <= 1


def test_the_middle_alone_and_several_pictures(client: Client, picture: Path) -> None:
    given = prompt(crop=True, images=1, preview="off")
    given["twice"] = node("RepeatImageBatch", image=["picture", 0], amount=2)
    given["again"]["inputs"]["image"] = ["twice", 0]
    found = pictures(client, client.run(given))
    assert found.shape == (2, 40, 40, 3)
    assert not np.array_equal(found[0], found[1])  # each from a seed of its own


def test_a_model_that_draws_from_text_is_refused(client: Client, picture: Path) -> None:
    said = error(client, prompt("drawing"))
    assert "drawing draws from text" in said and "family varedit, in Load Infinity" in said


def test_what_is_said_goes_before_what_the_folder_says(client: Client, picture: Path) -> None:
    assert pictures(client, client.run(prompt("drawing", "varedit"))).shape == (2, 40, 70, 3)
    assert "draws from text" in error(client, prompt("editing", "infinity"))


def test_a_sampler_with_such_a_model_says_what_to_use(client: Client, picture: Path) -> None:
    given = prompt()
    given["text"] = own("TextEncode", text_encoder=["load", 1], text="a cat",
                        prompt_per_line=False)
    given["again"] = own("Sampler", model=["load", 0], conditioning=["text", 0], seed=1, images=1,
                         aspect="1:1", pixels="auto", cfg=0.0, tau=1.0, top_p=0.97,
                         preview="off", overlay=False)
    assert "the node Infinity Instruct" in error(client, given)

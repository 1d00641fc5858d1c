"""*Prompts from File* in a real ComfyUI: pictures as they are finished, an interrupt, going on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from tests.comfyui.client import Client
from tests.comfyui.server import Server
from tests.comfyui.workflows import Prompt, model_and_text, own
from toprovar.picture_files import read_parameters

EXAMPLE = "example (in the box)"
WIDGETS: dict[str, Any] = {
    "seed": 5, "aspect": "1:1", "pixels": "0.06M", "cfg": 0.0, "tau": 0.0, "top_p": 0.97,
    "format": "png", "prompt_weights": True, "retry_failed": False,
}


def prompts(file: str, folder: str) -> Prompt:
    return {"load": model_and_text()["load"],
            "rows": own("PromptsFromFile", model=["load", 0], text_encoder=["load", 1], file=file,
                        folder=folder, **WIDGETS)}


def lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / "manifest.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def test_rows_are_drawn_and_saved_with_themselves(server: Server, client: Client) -> None:
    (server.base / "input" / "rows.csv").write_text(
        "prompt,seed,plan,name,kind\na red apple,7,dense,apple,fruit\ntwo blue cars,,dense,,\n"
        ",,,,\na dog,x,,,\n")
    done = client.run(prompts("rows.csv", "drawn/first"))
    out = server.base / "output" / "drawn" / "first"
    shown = done.outputs["rows"]
    assert "2 pictures, 2 of them new, 1 failed" in shown["text"][0]
    assert "row 3: seed must be a whole number" in shown["text"][0]
    assert {each["filename"] for each in shown["images"]} == {"apple.png", "000002.png"}
    told = read_parameters(out / "apple.png")
    assert told["seed"] == 7 and told["row"]["columns"] == {"kind": "fruit"}
    with Image.open(out / "apple.png") as image:
        assert json.loads(image.info["prompt"])["rows"]["class_type"] == "ToProVAR_PromptsFromFile"
    assert read_parameters(out / "000002.png")["seed"] == 6
    again = client.run(prompts("rows.csv", "drawn/first"))
    assert "2 pictures, 0 of them new, 1 failed" in again.outputs["rows"]["text"][0]
    assert again.outputs["rows"]["images"] == shown["images"]  # the folder's, though none is new


def test_an_example_is_in_the_box(server: Server, client: Client) -> None:
    """With an empty input folder, too; every row of it can be drawn."""
    done = client.run(prompts(EXAMPLE, "example"))
    assert "8 pictures, 8 of them new, 0 failed" in done.outputs["rows"]["text"][0]
    with Image.open(server.base / "output" / "example" / "frog.png") as image:
        assert image.size == (416, 624)


def test_an_interrupt_keeps_what_is_done(server: Server, client: Client) -> None:
    (server.base / "input" / "many.txt").write_text("a red apple\n" * 12)
    out = server.base / "output" / "many"

    done = client.wait(client.queue(prompts("many.txt", "many")), interrupt_at=2)
    assert done.status == "interrupted"
    kept = lines(out)
    assert 2 <= len(kept) < 12
    for line in kept:
        with Image.open(out / line["file"]) as image:
            image.load()
    done = client.run(prompts("many.txt", "many"))
    assert f"12 pictures, {12 - len(kept)} of them new" in done.outputs["rows"]["text"][0]

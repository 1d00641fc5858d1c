"""What ComfyUI's command line does to a model, and what is said of arguments without effect."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.comfyui.client import Client
from tests.comfyui.server import ROOT, Installation, Server, environment
from tests.comfyui.workflows import quick_start

FULL, HALF, BRAIN = "float32", "float16", "bfloat16"
PRECISIONS = (  # the loader's dtype, arguments -> transformer, VAE, text encoder
    ("auto", "", FULL, FULL, FULL),
    ("auto", "--fp16-unet", HALF, FULL, FULL),
    ("auto", "--bf16-unet", BRAIN, FULL, FULL),
    ("auto", "--force-fp16", HALF, FULL, FULL),
    ("float32", "--bf16-unet", FULL, FULL, FULL),
    ("bfloat16", "--force-fp32", BRAIN, BRAIN, BRAIN),
    ("auto", "--fp16-vae", FULL, HALF, FULL),
    ("auto", "--bf16-vae", FULL, BRAIN, FULL),
    ("bfloat16", "--fp32-vae", BRAIN, FULL, BRAIN),
    ("auto", "--bf16-text-enc", FULL, FULL, BRAIN),
    ("float16", "--fp32-text-enc", HALF, HALF, FULL),
)
WITHOUT_EFFECT = ("--use-split-cross-attention", "--use-quad-cross-attention",
                  "--use-sage-attention", "--use-flash-attention", "--force-upcast-attention",
                  "--fp64-unet", "--fp8_e5m2-unet", "--fp8_e8m0fnu-unet", "--fp8_e4m3fn-text-enc",
                  "--fp8_e5m2-text-enc", "--force-channels-last")
NEWER = ("--fp16-intermediates", "--disable-cuda-graphs", "--disable-pinned-memory")
"""Arguments that older ComfyUIs do not have."""
OTHERS = ("--fp8_e4m3fn-unet", "--use-pytorch-cross-attention", "--disable-mmap")


@pytest.fixture(scope="module")
def facts(installation: Installation) -> dict[tuple[str, str], dict[str, Any] | None]:
    """By the loader's dtype and arguments: see launched.py."""
    cases = [(dtype, given) for dtype, given, *_ in PRECISIONS]
    cases += [("auto", given) for given in (*WITHOUT_EFFECT, *NEWER, *OTHERS)]
    done = subprocess.run(
        [str(installation.python), str(ROOT / "tests" / "comfyui" / "launched.py"),
         str(installation.folder / "ComfyUI"), str(ROOT)],
        input=json.dumps([[dtype, *given.split()] for dtype, given in cases]),
        capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(cases, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.parametrize(("dtype", "given", "transformer", "vae", "text"), PRECISIONS)
def test_precisions_are_those_that_were_asked_for(
    facts: dict[Any, Any], dtype: str, given: str, transformer: str, vae: str, text: str
) -> None:
    found, plain = facts[dtype, given], facts["auto", ""]
    told = [found[part].removeprefix("torch.") for part in ("transformer", "vae", "text encoder")]
    assert told == [transformer, vae, text]
    assert found["notes"] == []
    assert found["size"] == plain["size"] and abs(found["mean"] - plain["mean"]) < 0.02


@pytest.mark.parametrize("given", WITHOUT_EFFECT)
def test_what_has_no_effect_is_named(facts: dict[Any, Any], given: str) -> None:
    found = facts["auto", given]
    if found is None:
        pytest.skip(f"this ComfyUI has no {given}")
    (note,) = found["notes"]
    assert note.startswith(f"{given} has no effect here: ") and "\n" not in note
    assert {**found, "notes": []} == facts["auto", ""]


def test_pytorchs_attention_is_what_is_used_anyway(facts: dict[Any, Any]) -> None:
    assert facts["auto", "--use-pytorch-cross-attention"] == facts["auto", ""]


def test_what_is_asked_for_beyond_precisions_is_done(facts: dict[Any, Any]) -> None:
    assert facts["auto", "--fp8_e4m3fn-unet"]["narrow"] is True
    assert facts["auto", ""]["narrow"] is False
    assert facts["auto", "--disable-mmap"] == facts["auto", ""]


@pytest.mark.parametrize(("given", "changes"), [
    ("--fp16-intermediates", {"image": "torch.float16", "latent": "torch.float16"}),
    ("--disable-cuda-graphs", {"graphs": False}),
    ("--disable-pinned-memory", {}),
])
def test_what_newer_ones_can_be_asked_for(facts: dict[Any, Any], given: str,
                                          changes: dict[str, Any]) -> None:
    found = facts["auto", given]
    if found is None:
        pytest.skip(f"this ComfyUI has no {given}")
    plain = facts["auto", ""]
    notes = found.pop("notes")
    assert bool(notes) != bool(changes)
    assert found == {**{key: plain[key] for key in found}, **changes}


def test_a_real_start_shows_the_note_on_the_loader(installation: Installation,
                                                   tmp_path_factory: pytest.TempPathFactory
                                                   ) -> None:
    arguments = ("--", "--use-quad-cross-attention", "--fp16-vae", "--reserve-vram", "2")
    with Server(installation, tmp_path_factory.mktemp("launched"), arguments=arguments) as server, \
            Client(server.url) as client:
        done = client.run(quick_start())
    (note,) = done.outputs["load"]["toprovar_notes"]
    assert "--use-quad-cross-attention has no effect here" in note and "attention chooses" in note

"""What ComfyUI's memory manager sees of a model and does to it, and runs whose memory runs out."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.comfyui.client import Client, Outcome
from tests.comfyui.server import ROOT, Installation, Server, environment
from tests.comfyui.test_runs import pictures
from tests.comfyui.workflows import EMBEDDED, calibrated, node, own, planned, quick_start

FAULTS = ROOT / "tests" / "comfyui" / "faults"
BLOCKS = 10
"""Of the embedded model's transformer."""
EARLIER = ("fast", "8-bit cache", "8-bit weights", "8-bit weights and cache")


@pytest.fixture(scope="module")
def facts(installation: Installation) -> dict[str, Any]:
    """See manager.py."""
    done = subprocess.run(
        [str(installation.python), str(ROOT / "tests" / "comfyui" / "manager.py"),
         str(installation.folder / "ComfyUI"), str(ROOT)],
        capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def running(installation: Installation, tmp_path_factory: pytest.TempPathFactory
            ) -> Iterator[Server]:
    """With a node that lets memory run out."""
    with Server(installation, tmp_path_factory.mktemp("fitting"),
                arguments=("--custom-node", f"faults={FAULTS}")) as server:
        yield server


@pytest.fixture
def short(running: Server) -> Iterator[Client]:
    with Client(running.url) as connected:
        yield connected


def test_the_manager_takes_blocks_back_and_gives_them_again(facts: dict[str, Any]) -> None:
    whole, fewer, more, least = (facts[name] for name in ("whole", "fewer", "more", "least"))
    assert whole["loaded"] == whole["size"] and whole["streamed"] == 0
    assert facts["gone"] is False  # it stays among the loaded models
    assert 0 < fewer["streamed"] < BLOCKS and fewer["size"] == whole["size"]
    assert whole["loaded"] / 3 <= whole["loaded"] - fewer["loaded"] < whole["loaded"] / 2
    assert facts["taken"] == more["loaded"] - fewer["loaded"] > 0
    assert facts["taken"] <= whole["loaded"] / 6
    assert more["streamed"] < fewer["streamed"] < least["streamed"] <= BLOCKS
    assert facts["given away by force"] == 0
    assert facts["too much"] == 0 and facts["untouched"] is True
    assert facts["back"] == whole  # with the next run
    assert facts["unloaded"] is True


def test_models_go_when_nobody_uses_them(facts: dict[str, Any]) -> None:
    assert facts["kept"] is False


def test_pictures_do_not_depend_on_where_blocks_are(facts: dict[str, Any]) -> None:
    assert facts["streamed alike"] and facts["alike"] and facts["alike again"]


def test_a_limit_is_met_and_the_report_says_how(facts: dict[str, Any]) -> None:
    assert "memory: " in facts["roomy"]
    assert "of 6.0 GiB available; everything stays" in facts["roomy"]
    assert re.search(r"expected of 18\d MiB available; the cache of", facts["tight"])
    assert facts["tight alike"] is True


def test_fewer_images_at_once_are_told_apart(facts: dict[str, Any]) -> None:
    assert facts["together"] == [3] and facts["apart"] == [1, 1, 1]
    assert facts["of runs"] == [0, 1, 2] and "\nimage 3: " in facts["apart in words"]
    assert facts["apart off"] < 1e-3


def test_what_cannot_fit_is_refused_and_leaves_nothing(facts: dict[str, Any]) -> None:
    assert "expected of 20 MiB available: more than there is" in facts["refused"]
    assert "What helps: a smaller size" in facts["refused"]
    assert facts["left behind"] < 1 << 20
    assert facts["after"] is True


def with_memory(prompt: dict[str, Any], memory: str) -> dict[str, Any]:
    prompt["load"] = own("LoadInfinity", **EMBEDDED, memory=memory)
    return prompt


def running_out(where: str, times: int, memory: str = "6GB", **changes: Any) -> dict[str, Any]:
    prompt = with_memory(planned({"strategy": "dense"}, model=["fault", 0], **changes), memory)
    prompt["fault"] = node("TestRunOut", model=["load", 0], where=where, times=times)
    return prompt


def told(done: Outcome) -> str:
    return done.outputs["sample"]["text"][0]


@pytest.mark.parametrize("memory", ["auto", "6GB"])
@pytest.mark.parametrize(("where", "times"), [("scale", 1), ("scale", 2), ("decode", 1),
                                              ("preview", 1)])
def test_memory_that_runs_out_is_not_the_end(short: Client, reference: Path, where: str,
                                             times: int, memory: str) -> None:
    preview = "decoded" if where == "preview" else "off"
    done = short.run(running_out(where, times, memory, preview=preview))
    expected = np.load(reference / "dense.npy")
    np.testing.assert_array_equal(pictures(short, done), expected)
    bar = done.progress("sample")  # of which newer ComfyUIs send what they have the time for
    assert bar == sorted(set(bar)) and bar[0] == (1, 7) and bar[-1] == (7, 7)
    if where != "preview":
        ran_out = "memory ran out during this call" in told(done)
        assert ran_out == (memory != "auto")  # on a CPU nobody plans without a limit
    after = short.run(with_memory(planned({"strategy": "dense"}, preview="off"), memory))
    np.testing.assert_array_equal(pictures(short, after), expected)


@pytest.mark.parametrize(("where", "times"), [("load", 1), ("place", 2)])
def test_a_model_that_does_not_get_to_its_device_gets_there_in_part(
    short: Client, reference: Path, where: str, times: int
) -> None:
    done = short.run(running_out(where, times, preview="off"))
    np.testing.assert_array_equal(pictures(short, done), np.load(reference / "dense.npy"))
    less = "everything stays on the device" not in told(done)
    assert less == (where == "place")


def test_where_nothing_helps_comfyui_says_what_would(short: Client, reference: Path) -> None:
    done = short.wait(short.queue(running_out("scale", 1000, preview="off")))
    assert done.status == "error" and done.error["node_id"] == "sample"
    assert done.error["exception_type"].endswith("OutOfMemoryError")
    assert "What helps: a smaller size" in done.error["exception_message"]
    assert "ran out of memory on your GPU" in done.error["exception_message"]  # as ComfyUI has it
    # Whatever else was queued is drawn, also of the model that was unloaded.
    short.run(running_out("nowhere", 0, preview="off"))
    after = short.run(with_memory(planned({"strategy": "dense"}), "6GB"))
    np.testing.assert_array_equal(pictures(short, after), np.load(reference / "dense.npy"))


def test_core_decoding_in_tiles_is_told(short: Client, running: Server) -> None:
    prompt = with_memory(planned({"strategy": "dense"}), "auto")
    prompt["latents"] = node("SaveLatent", samples=["sample", 1], filename_prefix="drawn")
    drawn = short.run(prompt).outputs["latents"]["latents"][0]["filename"]
    shutil.copy(running.base / "output" / drawn, running.base / "input" / "drawn.latent")
    short.run({"load": prompt["load"],
               "fault": node("TestRunOut", model=["load", 0], where="decode", times=1),
               "show": node("PreviewAny", source=["fault", 0])})
    decode = {"load": prompt["load"], "latents": node("LoadLatent", latent="drawn.latent"),
              "decode": node("VAEDecode", samples=["latents", 0], vae=["load", 2]),
              "save": node("SaveImage", images=["decode", 0], filename_prefix="tiled")}
    done = short.run(decode)
    assert any("memory ran out: decoded in tiles" in text for text in done.said)


@pytest.mark.parametrize("memory", EARLIER)
def test_what_was_offered_earlier_is_still_taken(short: Client, memory: str) -> None:
    done = short.run(with_memory(quick_start(preview="off"), memory))
    whole = short.run(with_memory(quick_start(preview="off"), "auto"))
    runs = [out.outputs["sample"]["toprovar_report"][0]["runs"][0] for out in (done, whole)]
    narrow = "cache" in memory
    assert (runs[0]["kv_bytes"] < runs[1]["kv_bytes"]) == narrow
    alike = np.array_equal(pictures(short, done), pictures(short, whole))
    assert alike == (memory == "fast")


def test_a_calibration_goes_on_after_memory_ran_out(short: Client) -> None:
    prompt = calibrated(minutes=0.5, resume=False)
    prompt = with_memory(prompt, "6GB")
    prompt["calibrate"]["inputs"]["model"] = ["fault", 0]
    prompt["fault"] = node("TestRunOut", model=["load", 0], where="scale", times=1)
    done = short.run(prompt)
    assert "calibrated on" in done.outputs["calibrate"]["text"][0]

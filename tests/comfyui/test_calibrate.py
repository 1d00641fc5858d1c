"""Calibrate Infinity, on a server of its own: it changes what later runs of the model leave out.

The tests follow each other: the first is stopped, the others go on from what it has measured.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.comfyui.client import Client, Outcome
from tests.comfyui.server import Installation, Server
from tests.comfyui.test_templates import LEAVING, run_template
from tests.comfyui.workflows import calibrated, own
from toprovar.entropy.calibration import Calibration

NAME = "infinity-emoji (embedded)"


@pytest.fixture(scope="module")
def calibrating(installation: Installation, tmp_path_factory: pytest.TempPathFactory
                ) -> Iterator[Server]:
    with Server(installation, tmp_path_factory.mktemp("calibrating")) as running:
        yield running


@pytest.fixture
def client(calibrating: Server) -> Iterator[Client]:
    with Client(calibrating.url) as connected:
        yield connected


@pytest.fixture(scope="module")
def stopped(calibrating: Server) -> Outcome:
    """A calibration that was interrupted when its first results were there."""
    with Client(calibrating.url) as client:
        return client.wait(client.queue(calibrated()), interrupt_at=200)


@pytest.fixture(scope="module")
def gone_on(calibrating: Server, stopped: Outcome) -> Outcome:
    with Client(calibrating.url) as client:
        prompt = calibrated()
        prompt["plan"] = own("SavePlan", plan=["sample", 3], filename_prefix="toprovar/used")
        return client.run(prompt)


def kept(server: Server) -> Path:
    """The only calibration there is."""
    (found,) = (server.base / "models" / "infinity" / "calibrations").glob("*.json")
    return found


def drawn(done: Outcome) -> int:
    """Pictures, as the text has it."""
    found = re.search(r"calibrated on (\d+) pictures", done.outputs["calibrate"]["text"][0])
    assert found
    return int(found[1])


def test_what_was_found_until_an_interrupt_is_kept(calibrating: Server, stopped: Outcome) -> None:
    assert stopped.status == "interrupted" and stopped.error["node_id"] == "calibrate"
    found = Calibration.load(kept(calibrating))
    assert found.name == NAME and list(found.entries) == ["0.06M"]
    assert list((calibrating.base / "cache" / "calibrating").glob("*/findings.json"))


def test_progress_is_shown_with_the_time_that_is_left(stopped: Outcome) -> None:
    bar = stopped.progress("calibrate")
    assert {most for _, most in bar} == {1000} and bar == sorted(bar)
    assert any(re.fullmatch(r"drawing in full: \d+ pictures, 0:\d\d left", one)
               for one in stopped.said)


def test_queued_again_it_goes_on_for_the_rest_of_its_time(stopped: Outcome, gone_on: Outcome
                                                          ) -> None:
    before = max(int(one[1]) for said in stopped.said
                 if (one := re.search(r"(\d+) pictures,", said)))
    assert drawn(gone_on) > before
    assert "drawn in 0:3" in gone_on.outputs["calibrate"]["text"][0]
    assert gone_on.said[-1].startswith(f"calibrated on {drawn(gone_on)} pictures")


def test_the_sampler_behind_it_draws_by_it(calibrating: Server, gone_on: Outcome) -> None:
    (used,) = (calibrating.base / "output" / "toprovar").glob("used*.json")
    assert json.loads(used.read_text("utf-8"))["provenance"]["calibration"] == NAME
    (run,) = gone_on.outputs["sample"]["toprovar_report"][0]["runs"]
    assert run["flop_share"] < 1


def test_it_says_where_it_is_and_shows_a_picture(client: Client, calibrating: Server,
                                                 gone_on: Outcome) -> None:
    shown = gone_on.outputs["calibrate"]
    assert f"kept in {kept(calibrating)}" in shown["text"][0]
    (file,) = shown["images"]
    assert Image.open(io.BytesIO(client.picture(file))).width >= 480


def test_another_target_measures_nothing_anew(client: Client, calibrating: Server,
                                              gone_on: Outcome) -> None:
    done = client.run(calibrated(target=0.9))
    assert drawn(done) == drawn(gone_on) and done.progress("calibrate") == []
    assert "sample" in done.executed
    assert Calibration.load(kept(calibrating)).target_ssim == 0.9


def test_calibrations_are_no_models(client: Client, gone_on: Outcome, calibrating: Server) -> None:
    (kept(calibrating).with_suffix(".safetensors")).touch()
    loader = client.json("/object_info/ToProVAR_LoadInfinity")["ToProVAR_LoadInfinity"]
    for name in ("model", "vae", "text_encoder"):
        assert not [one for one in loader["input"]["required"][name][1]["options"]
                    if "calibrations" in one]


def test_the_template_runs(client: Client, gone_on: Outcome) -> None:
    run_template(client, LEAVING)


def test_own_prompts_need_no_text_encoder_and_are_measured_anew(client: Client,
                                                                calibrating: Server) -> None:
    prompt: dict[str, Any] = calibrated(conditioning=["text", 0])
    del prompt["calibrate"]["inputs"]["text_encoder"]
    done = client.wait(client.queue(prompt), interrupt_at=1)
    assert done.status == "interrupted"
    assert not any("encoding" in one for one in done.said)
    assert len(list((calibrating.base / "cache" / "calibrating").iterdir())) == 2


def test_without_prompts_and_encoder_it_says_what_to_connect(client: Client) -> None:
    prompt = calibrated()
    del prompt["calibrate"]["inputs"]["text_encoder"]
    done = client.wait(client.queue(prompt))
    assert done.status == "error" and done.error["node_id"] == "calibrate"
    assert "connect text_encoder (from Load Infinity)" in done.error["exception_message"]

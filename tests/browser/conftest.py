"""One ComfyUI and one browser for all tests here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.browser import Browser, find_browser
from tests.browser.editor import Editor
from tests.comfyui.conftest import installation, server
from tests.comfyui.server import Server

__all__ = ["installation", "server"]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = find_browser()
    if isinstance(found, str):
        pytest.skip(found)
    with Browser(*found) as running:
        yield running


@pytest.fixture(scope="module", params=["classic", "vue"])
def editor(request: pytest.FixtureRequest, server: Server, browser: Browser,
           tmp_path_factory: pytest.TempPathFactory) -> Editor:
    """The editor in either renderer; screenshots go to TOPROVAR_ARTIFACTS, if that is set."""
    own = os.environ.get("TOPROVAR_ARTIFACTS")
    folder = Path(own) if own else tmp_path_factory.mktemp("pictures")
    made = Editor(browser, server.url, folder / request.param)
    made.start(vue=request.param == "vue")
    if made.is_vue != (request.param == "vue"):
        pytest.skip("this ComfyUI has no Vue renderer")
    made.complaints()  # those of the start are no test's
    return made

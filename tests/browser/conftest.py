"""One browser for all tests here, and one ComfyUI for each frontend: its own and the newest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.browser import Browser, find_browser
from tests.browser.editor import Editor
from tests.comfyui.conftest import installation
from tests.comfyui.frontend import frontends, server_arguments
from tests.comfyui.server import Installation, Server

__all__ = ["installation"]


@pytest.fixture(scope="session", params=frontends())
def frontend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def server(frontend: str, installation: Installation, tmp_path_factory: pytest.TempPathFactory
           ) -> Iterator[Server]:
    arguments = server_arguments(frontend)
    if isinstance(arguments, str):
        pytest.skip(arguments)
    base = tmp_path_factory.mktemp("comfyui")
    with Server(installation, base, arguments=arguments) as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = find_browser()
    if isinstance(found, str):
        pytest.skip(found)
    with Browser(*found) as running:
        yield running


@pytest.fixture(scope="module", params=["classic", "vue"])
def editor(request: pytest.FixtureRequest, server: Server, frontend: str, browser: Browser,
           tmp_path_factory: pytest.TempPathFactory) -> Editor:
    """The editor in either renderer; screenshots go to TOPROVAR_ARTIFACTS, if that is set."""
    own = os.environ.get("TOPROVAR_ARTIFACTS")
    folder = Path(own) if own else tmp_path_factory.mktemp("pictures")
    made = Editor(browser, server.url, folder / f"{frontend}-{request.param}")
    made.start(vue=request.param == "vue")
    if made.is_vue != (request.param == "vue"):
        pytest.skip("this ComfyUI has no Vue renderer")
    made.complaints()  # those of the start are no test's
    return made

"""One browser for all tests here, and one ComfyUI for each frontend: its own and the newest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.browser import Browser, find_browser
from tests.browser.editor import Editor
from tests.comfyui.conftest import installation
from tests.comfyui.frontend import NEWEST, frontends, server_arguments
from tests.comfyui.server import Installation, Server

__all__ = ["installation"]

WITH_NEWEST = ("test_boxes",)
"""Modules that are run with the newest frontend every time: they load and run every template. A
person who touches the browser's part runs the others, too."""


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
           tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    """The editor in either renderer; screenshots go to TOPROVAR_ARTIFACTS, if that is set."""
    if frontend == NEWEST and request.module.__name__.rpartition(".")[2] not in WITH_NEWEST \
            and "COMFYUI_FRONTEND" not in os.environ:
        pytest.skip("what the layout's tests do not find: COMFYUI_FRONTEND=newest runs the rest")
    own = os.environ.get("TOPROVAR_ARTIFACTS")
    folder = Path(own) if own else tmp_path_factory.mktemp("pictures")
    made = Editor(browser, server.url, folder / f"{frontend}-{request.param}")
    made.start(vue=request.param == "vue")
    if made.is_vue != (request.param == "vue"):
        pytest.skip("this ComfyUI has no Vue renderer")
    made.complaints()  # those of the start are no test's
    yield made
    browser.do("open", url="about:blank")  # an editor that nobody looks at draws on, a core long

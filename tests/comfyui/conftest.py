"""A real ComfyUI with this folder in its custom_nodes: one server for all tests here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.comfyui.client import Client
from tests.comfyui.server import Installation, Server, environment, find_installation


@pytest.fixture(scope="session")
def installation() -> Installation:
    """A ComfyUI with this pack's requirements; installed on first use where the tool is at hand.

    COMFYUI_DIR names one to be used as it is; TOPROVAR_COMFYUI_CACHE is where others are put.
    """
    found = find_installation()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.fixture(scope="session")
def server(installation: Installation, tmp_path_factory: pytest.TempPathFactory
           ) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("comfyui")
    with Server(installation, base) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url) as connected:
        yield connected


@pytest.fixture(scope="session")
def reference(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of what the engine gives when called directly, by the same Python: see direct.py."""
    folder = tmp_path_factory.mktemp("direct")
    root = Path(__file__).resolve().parents[2]
    subprocess.run(
        [str(installation.python), str(root / "tests" / "comfyui" / "direct.py"), str(folder)],
        check=True, env={**environment(), "PYTHONPATH": str(root)}, stdout=sys.stderr,
    )
    return folder

"""ComfyUI's frontends beside the one that a ComfyUI brings: the newest, or one that is named."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path

from tests.comfyui.server import cache_folder

PACKAGE = "comfyui-frontend-package"
OWN = "own"
NEWEST = "newest"


def frontends() -> list[str]:
    """Which frontends the browser tests are run with: COMFYUI_FRONTEND names them, with commas
    between ("own", "newest", or versions); else the server's own and the newest."""
    return os.environ.get("COMFYUI_FRONTEND", f"{OWN},{NEWEST}").split(",")


@lru_cache(maxsize=4)
def server_arguments(frontend: str) -> tuple[str, ...] | str:
    """Arguments that have a server serve a frontend, or the reason why there is none."""
    if frontend == OWN:
        return ()
    wanted = PACKAGE if frontend == NEWEST else f"{PACKAGE}=={frontend}"
    folder = cache_folder() / "frontends"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet",
             "--no-deps", "-d", scratch, wanted], capture_output=True, text=True)
        if done.returncode:  # no network, most likely
            return f"{wanted} could not be downloaded: {done.stderr.strip()[-300:]}"
        (wheel,) = Path(scratch).glob("*.whl")
        place = folder / wheel.name.split("-")[1]
        if not place.exists():
            with zipfile.ZipFile(wheel) as packed:
                packed.extractall(Path(scratch) / "whole")
            (Path(scratch) / "whole").rename(place)
    return ("--", "--front-end-root", str(place / "comfyui_frontend_package" / "static"))

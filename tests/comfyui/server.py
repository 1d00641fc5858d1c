"""Finds or installs a ComfyUI, and runs it."""

from __future__ import annotations

import hashlib
import os
import queue
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT.parent / "shared" / "tools" / "comfyui_server.py"
PACK = "ComfyUI-ToProVAR"
"""Name of the folder in custom_nodes."""


@dataclass(frozen=True)
class Installation:
    """Attributes:
        folder: what the tool installed, with venv/ and ComfyUI/.
        version: of ComfyUI.
    """

    folder: Path
    version: str

    @property
    def python(self) -> Path:
        return self.folder / "venv" / "bin" / "python"


def find_installation() -> Installation | str:
    """An installation with this pack's requirements, or the reason why there is none."""
    if not TOOL.is_file():
        return ("ComfyUI is not at hand: these tests run it through the development tool "
                "shared/tools/comfyui_server.py, which is not beside this checkout")
    version = os.environ.get("COMFYUI_VERSION", "0.3.75")
    own = os.environ.get("COMFYUI_DIR")
    folder = Path(own) if own else cache_folder() / f"comfyui-{version}"
    if own and not (folder / "ComfyUI" / "main.py").is_file():
        raise FileNotFoundError(f"COMFYUI_DIR={own} holds no ComfyUI/main.py: name a folder made "
                                "by 'comfyui_server.py install --dest'")
    if not own:
        done = subprocess.run([sys.executable, str(TOOL), "install", "--slim", "--comfyui", version,
                               "--dest", str(folder)], stderr=subprocess.PIPE, text=True)
        if done.returncode:  # no network, most likely: nothing that this pack could mend
            return f"ComfyUI could not be installed: {done.stderr.strip()[-300:]}"
    found = Installation(folder, version)
    _install_requirements(found)
    return found


def environment() -> dict[str, str]:
    """One thread, here and where the engine is called directly: such small models gain nothing
    from more, and bits do not depend on how many cores there are."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def cache_folder() -> Path:
    """Where installations and frontends are kept."""
    own = os.environ.get("TOPROVAR_COMFYUI_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "toprovar"


def _install_requirements(found: Installation) -> None:
    """As a user does; once for each state of the file."""
    wanted = ROOT / "requirements.txt"
    stamp = found.folder / f"toprovar-{hashlib.sha256(wanted.read_bytes()).hexdigest()[:12]}"
    if not stamp.exists():
        subprocess.run([str(found.python), "-m", "pip", "--disable-pip-version-check", "install",
                        "--quiet", "-r", str(wanted)], check=True)
        stamp.touch()


class Server:
    """A running ComfyUI with this pack, on a free port.

    Attributes:
        base: its folders models, input, output and user.
    """

    def __init__(self, installation: Installation, base: Path, pack: str = PACK,
                 arguments: tuple[str, ...] = ()) -> None:
        self.base, self.log = base, base / "server.log"
        command = [
            sys.executable, str(TOOL), "run", "--dest", str(installation.folder), "--port", "0",
            "--custom-node", f"{pack}={ROOT}", "--base-directory", str(base),
            "--log", str(self.log), *arguments,
        ]
        self.url = ""
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True,
            env={**environment(), "TOPROVAR_CACHE": str(base / "cache")})

    def __enter__(self) -> Server:
        lines: queue.Queue[str] = queue.Queue()
        out = self.process.stdout
        assert out is not None
        threading.Thread(target=lambda: lines.put(out.readline()), daemon=True).start()
        try:
            said = lines.get(timeout=150).split()
        except queue.Empty:
            said = []
        if len(said) != 2 or said[0] != "ready":
            self.stop()
            tail = self.log.read_text("utf-8")[-3000:] if self.log.exists() else "no log"
            raise RuntimeError(f"ComfyUI did not start:\n{tail}")
        self.url = said[1]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()

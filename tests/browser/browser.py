"""A headless Chromium, driven by playwright-core through a pipe: see driver.mjs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

DRIVER = Path(__file__).with_name("driver.mjs")
PLAYWRIGHT = "playwright-core@1.65.1"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


class BrowserError(Exception):
    """A command that failed in the browser, with its reason."""


def find_browser() -> tuple[Path, Path] | str:
    """(folder with playwright-core, Chromium), or the reason why there is none.

    playwright-core is installed on first use, into the cache where ComfyUI is; TOPROVAR_CHROMIUM
    names another Chromium.
    """
    if not shutil.which("node"):
        return "the browser's driver needs node, which is not installed"
    own = os.environ.get("TOPROVAR_CHROMIUM")
    found = own or next(filter(None, map(shutil.which, CHROMIUM)), None)
    if not found:
        return "there is no Chromium: install chromium, or name one in TOPROVAR_CHROMIUM"
    cache = Path(os.environ.get("TOPROVAR_COMFYUI_CACHE") or Path(
        os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "toprovar") / "browser"
    if not (cache / "node_modules" / "playwright-core").is_dir():
        if not shutil.which("npm"):
            return "playwright-core is not installed, and there is no npm to install it with"
        cache.mkdir(parents=True, exist_ok=True)
        (cache / "package.json").write_text('{"private": true}\n', "utf-8")
        done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", PLAYWRIGHT], cwd=cache,
                              capture_output=True, text=True)
        if done.returncode:
            return f"playwright-core could not be installed: {done.stderr.strip()[-300:]}"
    return cache, Path(found)


class Browser:
    """One page. Scripts are the text of a JavaScript function of one value."""

    def __init__(self, folder: Path, chromium: Path) -> None:
        self.process = subprocess.Popen(
            ["node", str(DRIVER), str(chromium)], cwd=folder, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True,
        )

    def __enter__(self) -> Browser:
        self._answer()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def do(self, act: str, **values: Any) -> Any:
        """One of the driver's acts."""
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"do": act, **values}) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise BrowserError("the browser's driver ended")
        answer = json.loads(line)
        if "error" in answer:
            raise BrowserError(answer["error"])
        return answer["value"]

    def evaluate(self, script: str, value: Any = None) -> Any:
        return self.do("evaluate", script=script, value=value)

    def wait(self, script: str, value: Any = None, seconds: float = 30) -> None:
        """Until the function gives something true."""
        self.do("wait", script=script, value=value, timeout=seconds * 1000)

    def click(self, selector: str, nth: int = 0, modifiers: Sequence[str] = ()) -> None:
        self.do("click", selector=selector, nth=nth, modifiers=list(modifiers))

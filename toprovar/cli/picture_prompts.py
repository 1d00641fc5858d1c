"""Prompts out of pictures that were drawn before: what somebody draws is what to calibrate on."""

from __future__ import annotations

from pathlib import Path

from ..picture_files import ENDINGS, read_parameters
from ..prompt_weights import parse_weights

MOST_READ = 1000
"""Pictures of a folder, the latest first."""


def prompts_of_pictures(folder: str | Path) -> list[str]:
    """The prompts of the pictures of this program in a folder, the latest first, each once, without
    weights of words.

    Pictures of other programs, and those whose prompt did not fit into the file, are passed over.

    Raises:
        ValueError: there is no such folder, or no prompt in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"--from-pictures: there is no folder {str(folder)!r}")
    files = [path for path in folder.iterdir()
             if path.suffix.lower() in ENDINGS and path.is_file()]
    files.sort(key=lambda path: (-path.stat().st_mtime_ns, path.name))
    found: dict[str, None] = {}
    for path in files[:MOST_READ]:
        try:
            about = read_parameters(path)
        except ValueError:
            continue
        prompt = about.get("prompt")
        if isinstance(prompt, str) and about.get("prompt_weights") is True:
            prompt = parse_weights(prompt).text
        if isinstance(prompt, str) and prompt.strip():
            found.setdefault(prompt)
    if not found:
        raise ValueError(f"--from-pictures: none of the {len(files)} pictures in {str(folder)!r} "
                         "holds a prompt: give a folder of pictures of 'toprovar generate'")
    return list(found)

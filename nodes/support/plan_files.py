"""Plans among ComfyUI's files: saved to its output folder, read from there or from its input."""

from __future__ import annotations

import hashlib
from pathlib import Path

from .host import folder_paths

SUBFOLDER = "plans"
NONE = "(no plan yet)"


def plan_files() -> dict[str, Path]:
    """Plans that can be chosen, "plans/x.json [output]" -> path: JSON files in the folders
    ``plans`` of ComfyUI's output and input folders, newest first."""
    found: list[tuple[float, str, Path]] = []
    for tag, root in (("output", folder_paths.get_output_directory()),
                      ("input", folder_paths.get_input_directory())):
        base = Path(root)
        for path in (base / SUBFOLDER).rglob("*.json"):
            if path.is_file():
                label = f"{path.relative_to(base).as_posix()} [{tag}]"
                found.append((-path.stat().st_mtime, label, path))
    return {label: path for _, label, path in sorted(found)}


def prefix_error(prefix: str) -> str | None:
    """What is wrong with a file name prefix, in words; None if nothing is."""
    parts = Path(prefix.replace("\\", "/")).parts
    if not prefix.strip() or prefix.endswith(("/", "\\")):
        return "filename_prefix is empty: give a name such as plans/plan"
    if Path(prefix).is_absolute() or ".." in parts or ":" in prefix:
        return (f"filename_prefix must stay inside ComfyUI's output folder, got {prefix!r}: use a "
                "name such as plans/plan")
    return None


def next_path(prefix: str) -> tuple[Path, str]:
    """The file that comes next in the output folder, and its name there."""
    folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(
        prefix, folder_paths.get_output_directory()
    )
    file = f"{name}_{counter:05}_.json"
    return Path(folder) / file, (Path(subfolder) / file).as_posix()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

"""Models on disk: what can be chosen, where it lies, and whether it has changed.

Nothing is opened but small JSON files.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from ...toprovar.files import add_calibration_folder
from .host import folder_paths

FOLDER = "infinity"
EXTENSIONS = {".safetensors", ".pth", ".pt", ".bin"}
EMBEDDED = "infinity-emoji (embedded)"
OWN = "the model's own"
CALIBRATIONS = "calibrations"
"""Folder in models/infinity: calibrations, and their shortcuts, which are no models."""
_DEEPEST = 3


def register_folder() -> None:
    """Add models/infinity to the folders that ComfyUI lists, and the calibrations in it to those
    that the engine looks for; harmless when repeated."""
    own = str(Path(folder_paths.models_dir) / FOLDER)
    known = folder_paths.folder_names_and_paths
    # from extra_model_paths.yaml, which gives no extensions
    paths, extensions = known.get(FOLDER, ([], set()))
    if own not in paths:
        paths.append(own)
    known[FOLDER] = (paths, set(extensions) | EXTENSIONS)
    for folder in _calibration_folders():
        add_calibration_folder(folder)


def calibration_folder() -> Path:
    """Where calibrations are written: in the first models/infinity that can be written to.

    Raises:
        ValueError: there is none.
    """
    folders = _calibration_folders()
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    raise ValueError("a calibration cannot be kept: none of these folders can be written to: "
                     + ", ".join(map(str, folders)))


def _calibration_folders() -> list[Path]:
    return [Path(path) / CALIBRATIONS for path in folder_paths.get_folder_paths(FOLDER)]


def models() -> dict[str, Path | None]:
    """Choices of the transformer: label -> path; None = the embedded model."""
    found: dict[str, Path | None] = {EMBEDDED: None}
    for label, path in _entries(FOLDER):
        if _is_text_folder(path) or _component(path) == "vae":
            continue
        found.setdefault(label, path)
    for label, path in _entries("diffusers"):
        if path.is_dir() and is_pipeline(path):
            found.setdefault(f"diffusers/{label}", path)
    return found


def vaes() -> dict[str, Path | None]:
    """Choices of the VAE; None = the model's own."""
    found: dict[str, Path | None] = {OWN: None}
    for folder in (FOLDER, "vae"):
        for label, path in _entries(folder):
            if path.is_file() or _component(path) == "vae":
                found.setdefault(label if folder == FOLDER else f"vae/{label}", path)
    return found


def text_encoders() -> dict[str, Path | None]:
    """Choices of the text encoder; None = the model's own. Files in models/text_encoders are called
    what ComfyUI's own loaders call them; whether one is flan-t5-xl shows when it is loaded."""
    found: dict[str, Path | None] = {OWN: None}
    for folder in (FOLDER, "text_encoders"):
        for label, path in _entries(folder):
            if _is_text_folder(path):
                found.setdefault(label if folder == FOLDER else f"text_encoders/{label}", path)
            elif folder != FOLDER and path.is_file() and path.suffix.lower() == ".safetensors":
                found.setdefault(label, path)
    return found


def is_pipeline(path: Path) -> bool:
    """Whether a folder holds a whole Infinity pipeline in the diffusers layout."""
    return _json(path / "model_index.json").get("_class_name") == "InfinityPipeline"


def state_of(path: Path | None) -> str:
    """Changes whenever a file in ``path`` does (its size or time); the same for the same files."""
    if path is None:
        return "embedded"
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    digest = hashlib.sha256(str(path).encode())
    for file in files:
        if file.is_file():
            about = file.stat()
            digest.update(f"{file}|{about.st_size}|{about.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _entries(folder: str) -> Iterator[tuple[str, Path]]:
    """(label, path) of every model file, and of every folder that is one model."""
    if folder not in folder_paths.folder_names_and_paths:
        return
    for root in map(Path, folder_paths.get_folder_paths(folder)):
        if root.is_dir():
            for path in _walk(root, 0):
                yield path.relative_to(root).as_posix(), path


def _walk(folder: Path, depth: int) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name == CALIBRATIONS:
            continue
        if path.is_dir():
            if _is_one_model(path):
                yield path
            elif depth < _DEEPEST:
                yield from _walk(path, depth + 1)
        elif path.suffix.lower() in EXTENSIONS:
            yield path


def _is_one_model(path: Path) -> bool:
    """A pipeline, a component folder, a T5 folder or official shards."""
    return any(
        (path / name).is_file()
        for name in ("model_index.json", "config.json", "pytorch_model.bin.index.json",
                     "model.safetensors.index.json")
    )


def _component(path: Path) -> str | None:
    name = _json(path / "config.json").get("_class_name") if path.is_dir() else None
    return {"InfinityTransformer": "transformer", "InfinityAutoencoder": "vae"}.get(str(name))


def _is_text_folder(path: Path) -> bool:
    return path.is_dir() and _json(path / "config.json").get("model_type") == "t5"


def _json(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}

"""The model in the box: small, real, in the same format as a user's own."""

from __future__ import annotations

from pathlib import Path

NAME = "infinity-emoji"


def bundled_model() -> Path:
    """Folder of the embedded model, for ``InfinityPipeline.from_pretrained``."""
    folder = Path(__file__).parent / NAME
    if not (folder / "model_index.json").is_file():
        raise FileNotFoundError(
            f"the embedded model is missing ({folder}): reinstall the package, or name a model "
            "folder of your own"
        )
    return folder

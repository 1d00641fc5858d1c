"""The model in the box: small, real, in the same format as a user's own."""

from __future__ import annotations

from pathlib import Path

from ..box import damage

NAME = "infinity-emoji"


def bundled_model() -> Path:
    """The folder of the embedded model, for ``InfinityPipeline.from_folder``.

    Raises:
        FileNotFoundError: the model is missing from the installation.
        ValueError: one of its files has been changed.
    """
    folder = Path(__file__).parent / NAME
    if not (folder / "model_index.json").is_file():
        raise FileNotFoundError(
            f"the embedded model is missing ({folder}): reinstall the package, or name a model "
            "folder of your own"
        )
    fault = damage(folder)
    if fault is not None:
        raise ValueError(f"the embedded model is damaged: {fault}: reinstall the package, or name "
                         "a model folder of your own")
    return folder

"""``from_pretrained`` as diffusers has it, from folders that are checked and never run."""

from __future__ import annotations

from contextvars import ContextVar
from os import PathLike
from typing import Any

from diffusers.pipelines.pipeline_utils import DiffusionPipeline

_GIVEN: ContextVar[frozenset[str]] = ContextVar("given", default=frozenset())
"""Arguments of the call of ``from_pretrained`` that is under way."""


class CheckedLoading(DiffusionPipeline):
    """Base of the pipeline."""

    @classmethod
    def from_pretrained(cls, folder: str | PathLike[str], **how: Any) -> Any:
        """Load a pipeline as diffusers does it, from a local folder or by a name in the local
        cache.

        Components are checked before they are loaded, unless they are given as arguments. Python
        code in the folder is refused. Nothing is downloaded unless ``local_files_only=False`` is
        given.

        Args:
            folder: the folder, or a name such as "owner/model" that is in the local cache.
            how: arguments of ``DiffusionPipeline.from_pretrained``, such as ``torch_dtype``.

        Raises:
            ValueError: the folder is no pipeline, holds Python code, or a component does not fit;
                the message names it.
        """
        from .checkpoints.loading import LOADING
        from .checkpoints.pipeline_index import read_defaults, refuse_code_files
        from .checkpoints.text_load import cached_folder

        how = {"local_files_only": True, **how}
        path = cached_folder(folder)
        if how["local_files_only"] or path.is_dir():
            read_defaults(path)
            refuse_code_files(path)
            folder = path
        given = _GIVEN.set(frozenset(how))
        try:
            with LOADING:
                return super().from_pretrained(folder, **how)
        finally:
            _GIVEN.reset(given)

    @classmethod
    def extract_init_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> tuple[Any, Any, Any]:
        """diffusers asks for a folder's components, whether ``from_pretrained`` was called of this
        class or of ``DiffusionPipeline``: they are loaded by this package's classes."""
        from .checkpoints.components import CHECKED, checked_components

        found, unused, hidden = super().extract_init_dict(config_dict, **kwargs)
        given = _GIVEN.get() & CHECKED.keys()
        found = {name: value for name, value in found.items() if name not in given}
        return checked_components(found), unused, hidden

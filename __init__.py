"""ComfyUI's door: where ComfyUI finds the nodes when this folder lies in its custom_nodes.

Importing it anywhere else does nothing; the engine is the package ``toprovar`` beside it.
"""

from __future__ import annotations

from typing import Any

WEB_DIRECTORY = "./web"
"""Help pages (web/docs), and the nodes' own widgets."""


async def comfy_entrypoint() -> Any:
    """The nodes, for ComfyUI."""
    from .nodes import ToProVarExtension

    return ToProVarExtension()


__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]

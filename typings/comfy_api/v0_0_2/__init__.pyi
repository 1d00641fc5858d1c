"""What the pack uses of ComfyUI's interface of nodes, and nothing else of it.

These declarations are for the type checker alone: ComfyUI is not installed where it runs.
``tests/comfyui/test_typings.py`` holds them against a real ComfyUI.
"""

from . import io as io
from . import ui as ui

class ComfyExtension:
    async def on_load(self) -> None: ...
    async def get_node_list(self) -> list[type[io.ComfyNode]]: ...

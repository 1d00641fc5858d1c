"""The one place that talks to ComfyUI. What may change between versions is looked up when used.

The type checker, which runs without ComfyUI, knows these modules by the declarations in
``typings/``.
"""

# pyright: reportMissingModuleSource=false

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import comfy.model_management as manager
import comfy.model_patcher as model_patcher
import comfy.utils
import folder_paths
import torch
from comfy.cli_args import args as launch_arguments
from comfy_api.v0_0_2 import ComfyExtension, io, ui
from comfy_execution.graph_utils import ExecutionBlocker
from PIL import Image
from torch import Tensor, nn

if TYPE_CHECKING:
    from server import PromptServer

__all__ = ["ComfyExtension", "ExecutionBlocker", "Held", "InterruptedRun", "Part", "Progress",
           "folder_paths", "io", "launch_arguments", "load", "manager", "model_patcher",
           "prompt_server", "say", "stop_if_interrupted", "ui", "unload"]

EVERYTHING = 1e30
"""Bytes, in the manager's manner of saying "all of it"."""

InterruptedRun = manager.InterruptProcessingException
"""What :func:`stop_if_interrupted` raises."""


def prompt_server() -> PromptServer | None:
    """ComfyUI's server where one runs in this process, else None. Its module is not imported: a
    program that uses nodes without a server has not loaded it."""
    module = sys.modules.get("server")
    return getattr(getattr(module, "PromptServer", None), "instance", None)


class Held(nn.Module):
    """A network as ComfyUI's patcher wants it: with a ``device`` that can be set, which the
    networks of diffusers and transformers have not."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net


class Part:
    """A network in the care of ComfyUI's memory manager; :mod:`.patchers` makes them.

    Args:
        patcher: as the manager knows it, of a ``Held`` one.
    """

    def __init__(self, patcher: model_patcher.ModelPatcher) -> None:
        self.patcher = patcher

    @property
    def net(self) -> Any:
        return self.patcher.model.net

    @property
    def device(self) -> torch.device:
        return self.patcher.load_device

    @property
    def there(self) -> bool:
        """Whether it is on its device, which is not where it waits."""
        own = self.patcher
        return own.load_device != own.offload_device \
            and own.current_loaded_device() == own.load_device


def load(parts: Sequence[Part], working_bytes: int) -> None:
    """Bring networks to their devices, with room for ``working_bytes`` beside them; others make
    room for it as the manager decides."""
    manager.load_models_gpu(
        [part.patcher for part in parts], memory_required=working_bytes, force_full_load=True
    )


def unload(part: Part) -> None:
    """Take a network off its device, and no other."""
    others = [known for known in manager.current_loaded_models if known.model is not part.patcher]
    manager.free_memory(EVERYTHING, part.device, others)


def stop_if_interrupted() -> None:
    """Raises ComfyUI's exception when the user has asked to stop."""
    manager.throw_exception_if_processing_interrupted()


def say(text: str) -> None:
    """Show a text on the node that runs, where this ComfyUI and its frontend can."""
    from comfy_execution.utils import get_executing_context

    context, server = get_executing_context(), prompt_server()
    send = getattr(server, "send_progress_text", None)
    if context is not None and send is not None:
        send(text, context.node_id)


class Progress:
    """ComfyUI's progress bar for the node that runs, with pictures.

    Args:
        total: steps.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.bar = comfy.utils.ProgressBar(total)

    def at(self, step: int, picture: Image.Image | None = None) -> None:
        """``step`` steps are done. Raises when the user has asked to stop."""
        shown = None if picture is None else ("JPEG", picture, max(picture.size))
        self.bar.update_absolute(step, self.total, shown)


def to_comfy(image: Tensor) -> Tensor:
    """[B, 3, H, W] in [-1, 1] -> ComfyUI's IMAGE [B, H, W, 3] float32 in [0, 1] on its device."""
    return unit_to_comfy((image.float() + 1) / 2)


def unit_to_comfy(image: Tensor) -> Tensor:
    """The same of [B, 3, H, W] in [0, 1]."""
    return between(image.movedim(1, -1)).contiguous()


def between(tensor: Tensor) -> Tensor:
    """A float tensor where, and as, ComfyUI has those that travel between nodes."""
    dtype = getattr(manager, "intermediate_dtype", None)  # --fp16-intermediates of newer ones
    return tensor.to(manager.intermediate_device(), dtype() if dtype else tensor.dtype)


def from_pil(picture: Image.Image) -> Tensor:
    """A picture as IMAGE [1, H, W, 3]."""
    import numpy as np

    array = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(array)[None]


def to_pil(image: Tensor) -> Image.Image:
    """One picture [H, W, 3] of an IMAGE, truncated to 8 bits as ComfyUI's Save Image does."""
    array = (image[..., :3].float().clamp(0, 1) * 255).to(torch.uint8).cpu().numpy()
    return Image.fromarray(array)

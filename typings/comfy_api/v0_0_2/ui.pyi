"""What a node shows below itself."""

from typing import Any

import torch

from . import io

class PreviewImage:
    def __init__(self, image: torch.Tensor, *, cls: type[io.ComfyNode] | None = ...) -> None: ...
    def as_dict(self) -> dict[str, Any]: ...

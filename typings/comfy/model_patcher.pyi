"""What the pack uses of ComfyUI's handle of a network."""

import torch

class ModelPatcher:
    model: torch.nn.Module
    load_device: torch.device
    offload_device: torch.device

    def __init__(self, model: torch.nn.Module, load_device: torch.device,
                 offload_device: torch.device) -> None: ...
    def model_size(self) -> int: ...

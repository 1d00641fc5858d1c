"""A second network in whose features pictures are compared, independent of the judge.

Where the judge is a pyramid that sees a whole picture at 256 pixels and finds objects, this is a
plain stack of depthwise convolutions that sees pictures of any size at their own resolution and
tells, every eight pixels, of which object, which colour and which place on it they are. It was
never taught to pass or fail a picture. ``python -m training.train_second`` makes one; none ships.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .metrics import as_pictures

FORMAT = "toprovar-second-1"
STRIDE = 8
"""Picture pixels a side that one cell stands for."""
_PIECE_PIXELS = 64 * 256**2


@dataclass(frozen=True)
class SecondConfig:
    """Shape of the network.

    Attributes:
        classes: kinds of objects; one more output means ground.
        colours: colour variants; bins: places along each axis of a sprite.
        widths: channels at strides 4 and 8; blocks: there.
    """

    classes: int
    colours: int
    bins: int = 8
    widths: tuple[int, int] = (48, 96)
    blocks: tuple[int, int] = (2, 5)

    def __post_init__(self) -> None:
        numbers = (self.classes, self.colours, self.bins, *self.widths, *self.blocks)
        if len(self.widths) != 2 or len(self.blocks) != 2 or min(numbers) < 1:
            raise ValueError(f"expected positive numbers, two widths and two blocks, got {self}")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SecondConfig:
        """From JSON values."""
        ready: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**ready)


class Mixed(nn.Module):
    """x + two pointwise layers behind a 7 x 7 depthwise convolution (ConvNeXt, Liu et al. 2022)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.wide = nn.Linear(channels, 3 * channels)
        self.narrow = nn.Linear(3 * channels, channels)
        nn.init.zeros_(self.narrow.weight)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + self.narrow(F.gelu(self.wide(y))).permute(0, 3, 1, 2)


class SecondNetwork(nn.Module):
    """See the module."""

    def __init__(self, config: SecondConfig) -> None:
        super().__init__()
        self.config = config
        first, then = config.widths
        self.stem = nn.Conv2d(3, first, 6, stride=4, padding=1)
        self.fine = nn.Sequential(*(Mixed(first) for _ in range(config.blocks[0])))
        self.down = nn.Conv2d(first, then, 2, stride=2)
        self.coarse = nn.Sequential(*(Mixed(then) for _ in range(config.blocks[1])))
        self.norm = nn.LayerNorm(then)
        self.parts = (config.classes + 1, config.colours, config.bins**2)
        self.head = nn.Linear(then, sum(self.parts))

    def cells(self, images: Tensor) -> Tensor:
        """Features of every cell, [B, h, w, C], of RGB [B, 3, 8 h, 8 w] in 0-1."""
        if images.ndim != 4 or images.shape[-1] % STRIDE or images.shape[-2] % STRIDE:
            raise ValueError(f"pictures must be [B, 3, H, W] with sides that are multiples of "
                             f"{STRIDE}, got {tuple(images.shape)}")
        x = self.fine(self.stem((images - 0.5) * 4.0))
        return self.norm(self.coarse(self.down(x)).permute(0, 2, 3, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Logits of class, colour and place of every cell: [B, h, w, K] each."""
        return self.head(self.cells(images)).split(self.parts, dim=-1)

    @property
    def device(self) -> torch.device:
        return self.head.weight.device

    @torch.no_grad()
    def features(self, images: Any) -> Tensor:
        """Mean and spread of the cells' features: [B, 2 C] float32, of pictures as
        ``toprovar.evaluation.metrics`` takes them."""
        pictures = as_pictures(images).to(self.device)
        found = []
        for piece in pictures.split(max(1, _PIECE_PIXELS // pictures[0, 0].numel())):
            cells = self.cells(piece).flatten(1, 2).float()
            found.append(torch.cat([cells.mean(1), cells.std(1)], 1))
        return torch.cat(found)

    def save(self, path: Path | str, about: dict[str, Any] | None = None) -> None:
        """Weights in fp16, the shape and ``about`` (JSON values) as metadata."""
        tensors = {n: t.detach().to("cpu", torch.float16).contiguous()
                   for n, t in self.state_dict().items()}
        values = {"config": asdict(self.config), "about": about or {}}
        save_file(tensors, str(path), {"format": FORMAT, "second": json.dumps(values)})

    @classmethod
    def load(cls, path: Path | str, device: torch.device | str = "cpu") -> SecondNetwork:
        """Read a file of ``save``, frozen."""
        if not Path(path).is_file():
            raise FileNotFoundError(f"no second network at {path}; `python -m "
                                    "training.train_second` makes one")
        try:
            with safe_open(str(path), framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {n: file.get_tensor(n).to(torch.float32, copy=True)
                           for n in file.keys()}  # noqa: SIM118  # not a dictionary
        except SafetensorError as error:
            raise ValueError(f"{path} is no readable safetensors file: {error}") from error
        if metadata.get("format") != FORMAT:
            raise ValueError(f"{path} is no second network: its format is "
                             f"{metadata.get('format')!r}")
        model = cls(SecondConfig.from_dict(json.loads(metadata["second"])["config"]))
        model.load_state_dict(tensors)
        return model.to(device).requires_grad_(False).eval()

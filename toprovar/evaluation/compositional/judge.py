"""The judge: weights, names and thresholds in one file; pictures in, detections and scores out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from toprovar.evaluation.compositional.decode import Detection, Thresholds, decode
from toprovar.evaluation.compositional.detector import Detector, DetectorConfig, Maps
from toprovar.evaluation.compositional.prompts import PromptSpec
from toprovar.evaluation.compositional.report import Report, Result, summarise
from toprovar.evaluation.compositional.tasks import decide

FORMAT = "toprovar-judge-1"
_PACKAGE = "toprovar.evaluation.compositional"
_BUNDLED = "data/judge.safetensors"
_BATCH = 32


@dataclass
class Judge:
    """Detects objects and scores pictures against prompts.

    Attributes:
        classes, colours: the names it knows, in the order of the detector's outputs.
        about: how it was trained and calibrated, as JSON values.
    """

    detector: Detector
    classes: tuple[str, ...]
    colours: tuple[str, ...]
    thresholds: Thresholds
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        config = self.detector.config
        if (config.classes, config.colours) != (len(self.classes), len(self.colours)):
            raise ValueError(
                f"the detector tells {config.classes} classes and {config.colours} colours apart, "
                f"but {len(self.classes)} and {len(self.colours)} are named"
            )

    @property
    def device(self) -> torch.device:
        return next(self.detector.parameters()).device

    @staticmethod
    def bundled() -> bool:
        """Whether trained weights ship with this copy of the package."""
        return resources.files(_PACKAGE).joinpath(_BUNDLED).is_file()

    @classmethod
    def load(
        cls, path: Path | str | None = None, device: torch.device | str = "cpu"
    ) -> Judge:
        """Read a judge's file, or the one that ships with the package."""
        if path is None:
            with resources.as_file(resources.files(_PACKAGE).joinpath(_BUNDLED)) as own:
                return cls.load(own, device)
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"no judge at {path}; `python -m training.train_judge` makes one"
            )
        try:
            with safe_open(str(path), framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {n: file.get_tensor(n).to(torch.float32, copy=True)
                           for n in file.keys()}  # noqa: SIM118  # not a dictionary
        except SafetensorError as error:
            raise ValueError(f"{path} is no readable safetensors file: {error}") from error
        if metadata.get("format") != FORMAT:
            raise ValueError(f"{path} is no judge: its format is {metadata.get('format')!r}")
        values = json.loads(metadata["judge"])
        detector = Detector(DetectorConfig.from_dict(values["config"]))
        detector.load_state_dict(tensors)
        detector.to(device).requires_grad_(False).eval()
        return cls(
            detector, tuple(values["classes"]), tuple(values["colours"]),
            Thresholds(**values["thresholds"]), values.get("about", {}),
        )

    def save(self, path: Path | str) -> None:
        """Write weights in fp16 and everything else as JSON metadata."""
        tensors = {
            name: value.detach().to("cpu", torch.float16).contiguous()
            for name, value in self.detector.state_dict().items()
        }
        if bad := [name for name, value in tensors.items() if not bool(value.isfinite().all())]:
            raise ValueError(f"not finite in fp16: {', '.join(bad[:3])}")
        values = {
            "config": self.detector.config.to_dict(),
            "classes": self.classes,
            "colours": self.colours,
            "thresholds": asdict(self.thresholds),
            "about": self.about,
        }
        save_file(tensors, str(path), {"format": FORMAT, "judge": json.dumps(values)})

    @torch.no_grad()
    def maps(self, images: Tensor) -> Maps:
        """The detector's maps of RGB pictures [B, 3, H, W], uint8 or float in 0-1."""
        parts = [self.detector(self._ready(piece)) for piece in images.split(_BATCH)]
        columns = zip(*((m.heat, m.colour, m.size, m.offset) for m in parts), strict=True)
        return Maps(*(torch.cat(column) for column in columns))

    def detect(self, images: Tensor) -> list[list[Detection]]:
        """What is seen on each of RGB pictures [B, 3, H, W], uint8 or float in 0-1."""
        if not len(images):
            return []
        return decode(self.maps(images), self.classes, self.colours, self.thresholds)

    def results(self, images: Tensor, prompts: Sequence[PromptSpec]) -> list[Result]:
        """Detections and verdict of every picture against its prompt."""
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} pictures but {len(prompts)} prompts")
        for prompt in prompts:
            self.check(prompt)
        return [
            Result(prompt, tuple(found), decide(prompt, found, self.thresholds))
            for prompt, found in zip(prompts, self.detect(images), strict=True)
        ]

    def score(self, images: Tensor, prompts: Sequence[PromptSpec]) -> Report:
        """Share of pictures that fulfil their prompts, for each task."""
        return summarise(self.results(images, prompts))

    def check(self, prompt: PromptSpec) -> None:
        """Refuse a prompt about something the judge was never taught."""
        for thing in prompt.objects:
            if thing.cls not in self.classes:
                raise ValueError(f"the judge knows no {thing.cls!r}: {prompt.text!r}")
            if thing.colour is not None and thing.colour not in self.colours:
                raise ValueError(f"the judge knows no colour {thing.colour!r}: {prompt.text!r}")

    def _ready(self, images: Tensor) -> Tensor:
        if images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"pictures must be [B, 3, H, W], got {list(images.shape)}")
        scale = 255.0 if images.dtype == torch.uint8 else 1.0
        images = images.to(self.device, torch.float32) / scale
        if not bool(((images > -0.01) & (images < 1.01)).all()):
            raise ValueError("float pictures must lie in 0-1; rescale those in -1 to 1")
        return resized(images, self.detector.config.input_size)


def resized(images: Tensor, size: int) -> Tensor:
    """Square pictures of this side: means of areas when shrinking, linear when growing."""
    if tuple(images.shape[-2:]) == (size, size):
        return images
    if min(images.shape[-2:]) >= size:
        return F.interpolate(images, (size, size), mode="area")
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False)

"""Training the detector on composed pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toprovar.evaluation.compositional.decode import Thresholds
from toprovar.evaluation.compositional.detector import Detector, DetectorConfig, Maps
from toprovar.evaluation.compositional.judge import Judge
from training.bundles import part, read_bundle
from training.compiling import compiled
from training.data.colours import COLOUR_NAMES
from training.journal import save_sheet
from training.judge.augment import Augment
from training.judge.draw import drawn
from training.judge.pictures import CHECK_SEED, Pictures, mixed
from training.judge.reconstruct import Reconstructor
from training.judge.settings import JudgeSettings
from training.judge.spoilt import SpoiltAtlas
from training.judge.stream import JudgeBatch
from training.judge.targets import losses, targets_of
from training.judge.truth import CLASS_NAMES, tally
from training.loop import load_part
from training.optim import build_optimizers
from training.stream import Batch


class JudgeStage:
    """The detector, its optimiser and its check pictures."""

    def __init__(
        self, settings: JudgeSettings, sprites: SpoiltAtlas, rebuild: Reconstructor | None,
        device: torch.device,
    ) -> None:
        self.settings, self.sprites = settings, sprites
        run = settings.run
        torch.manual_seed(run.seed)
        self.model = Detector(settings.model)
        self.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.modules: dict[str, nn.Module] = {"judge": self.model}
        self.optimizers = build_optimizers(self.model.named_parameters(), settings.optimizer)
        self.augment = Augment(settings.augment, rebuild)
        self.device, self.dtype = device, getattr(torch, run.compute)
        self._forward = compiled(self._maps, run.compile)
        self._held_out: dict[str, Pictures] | None = None

    def _maps(self, images: Tensor) -> Maps:
        with torch.autocast(self.device.type, self.dtype, self.dtype != torch.float32):
            return self.model(images)

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        if not isinstance(batch, JudgeBatch):
            raise TypeError("the judge learns from labelled batches")
        images, labels = self.augment(batch.images.float() / 255.0, batch.labels, generator)
        maps = self._forward(images)
        targets = targets_of(labels, self.settings.model.classes, maps.heat.shape[-1])
        parts = losses(maps, targets)
        return torch.stack(list(parts.values())).sum(), {n: v.detach() for n, v in parts.items()}

    @torch.no_grad()
    def check(self, sheet: Path) -> dict[str, Any]:
        """Precision, recall and colours on clean and on spoilt held-out pictures."""
        judge = Judge(self.model, CLASS_NAMES, COLOUR_NAMES, Thresholds())
        found: dict[str, Any] = {}
        for name, pictures in self._pictures().items():
            seen = judge.detect(pictures.images)
            summary = tally(seen, pictures.truths).summary()
            found |= {f"{name}_{key}": value for key, value in summary.items()}
            if name == "spoilt":
                shown = self.settings.run.sheet_images
                save_sheet(sheet, drawn(pictures.images[:shown], seen[:shown]), 8)
        return found

    def _pictures(self) -> dict[str, Pictures]:
        if self._held_out is None:
            count, mixture = self.settings.run.eval_images, self.settings.mixture
            size = self.settings.model.input_size
            # A copy, since the stream redraws the spoilt sprites in its own thread.
            sprites = self.sprites.twin()
            self._held_out = {
                "clean": mixed(count, CHECK_SEED, sprites, None, mixture, size),
                "spoilt": mixed(count, CHECK_SEED + 100, sprites, self.augment, mixture, size),
            }
        return self._held_out

    def describe(self) -> dict[str, Any]:
        return {"judge": self.settings.model.to_dict()}


def load_detector(folder: Path | str, device: torch.device) -> tuple[Detector, dict[str, Any]]:
    """The averaged detector of a run's bundle, frozen, and the bundle's info."""
    tensors, info = read_bundle(folder)
    model = Detector(DetectorConfig.from_dict(info["judge"]))
    load_part(model, part(tensors, "judge"))
    return model.to(device).requires_grad_(False).eval(), info

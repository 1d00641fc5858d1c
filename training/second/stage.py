"""Training the second network on composed scenes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toprovar.evaluation.second import SecondConfig, SecondNetwork
from training.compiling import compiled
from training.data.atlas import VARIANTS, SpriteAtlas
from training.data.catalog import load_classes
from training.data.compose import compose
from training.data.scene_batch import SceneBatch
from training.data.scenes import sample_scenes
from training.journal import save_sheet
from training.optim import build_optimizers
from training.second.targets import Cells, cells_of, cropped
from training.settings import OptimizerSettings, RunSettings, View
from training.stream import Batch, SceneStream, scenes_at

CROP = 256
_HELD_OUT_SEED = 20_003
_NOISE = 4.0 / 255.0


@dataclass(frozen=True)
class SecondSettings:
    """Everything about a run of ``training.train_second``."""

    run: RunSettings
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)


@dataclass(frozen=True)
class SecondBatch(Batch):
    """Pictures and the scenes that they show; ``ids`` and ``lengths`` are empty."""

    scenes: SceneBatch


class SecondStream(SceneStream):
    """Batches of the generator's training scenes."""

    def composed(self, view: View, step: int) -> Batch:
        scenes = scenes_at(view, self._own, step)
        images = compose(scenes, self._atlas, view.size)
        nothing = torch.zeros(0, dtype=torch.long, device=self._atlas.device)
        return SecondBatch(view, images, nothing, nothing, scenes)


class SecondStage:
    """The network, its optimiser and its held-out scenes."""

    def __init__(self, settings: SecondSettings, atlas: SpriteAtlas, device: torch.device) -> None:
        self.settings, self.atlas, self.device = settings, atlas, device
        run = settings.run
        torch.manual_seed(run.seed)
        self.config = SecondConfig(len(load_classes()), VARIANTS)
        self.model = SecondNetwork(self.config).to(device)
        self.modules: dict[str, nn.Module] = {"second": self.model}
        self.optimizers = build_optimizers(self.model.named_parameters(), settings.optimizer)
        self.dtype = getattr(torch, run.compute)
        self._forward = compiled(self._logits, run.compile)

    def _logits(self, images: Tensor) -> tuple[Tensor, ...]:
        with torch.autocast(self.device.type, self.dtype, self.dtype != torch.float32):
            return self.model(images)

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        if not isinstance(batch, SecondBatch):
            raise TypeError("the second network learns from batches that hold their scenes")
        cells = self._cells(batch.scenes, batch.view.size)
        images, cells = cropped(batch.images, cells, CROP, generator)
        images = images.float() / 255.0
        noise = torch.rand((len(images), 1, 1, 1), generator=generator, device=self.device)
        images = images + noise * _NOISE * torch.randn(
            images.shape, generator=generator, device=self.device)
        parts, right = _losses(self._forward(images), cells)
        return torch.stack(list(parts.values())).sum(), {
            **{n: v.detach() for n, v in parts.items()}, **right}

    def _cells(self, scenes: SceneBatch, size: int) -> Cells:
        return cells_of(scenes, self.atlas, size, self.config.classes, self.config.bins)

    @torch.no_grad()
    def check(self, sheet: Path) -> dict[str, Any]:
        """How often cells of held-out scenes are told right, for every picture size."""
        found: dict[str, Any] = {}
        for view in {v.pn: v for v in self.settings.run.views}.values():
            count = max(2, self.settings.run.eval_images * 256**2 // view.size**2)
            scenes = sample_scenes(count, _HELD_OUT_SEED, "heldout")
            images = compose(scenes, self.atlas, view.size)
            logits = [self.model(piece.float() / 255.0) for piece in images.split(8)]
            joined = tuple(torch.cat(column) for column in zip(*logits, strict=True))
            _, right = _losses(joined, self._cells(scenes, view.size))
            found |= {f"{name}_{view.size}": value.item() for name, value in right.items()}
            if view is self.settings.run.views[0]:
                save_sheet(sheet, images[: self.settings.run.sheet_images], 8)
        return found

    def describe(self) -> dict[str, Any]:
        return {"second": asdict(self.config)}


def _losses(
    logits: tuple[Tensor, ...], cells: Cells
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Cross-entropies, and the shares of cells told right."""
    losses, right = {}, {}
    for name, guess, true in zip(
        ("class", "colour", "place"), logits, (cells.cls, cells.colour, cells.place), strict=True
    ):
        flat, wanted = guess.float().flatten(0, 2), true.flatten()
        losses[name] = F.cross_entropy(flat, wanted, ignore_index=-1)
        known = wanted >= 0
        hit = (flat.argmax(1) == wanted) & known
        right[f"{name}_right"] = hit.sum() / known.sum().clamp_min(1)
    return losses, right

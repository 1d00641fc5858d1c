"""Training the BSQ autoencoder on scenes."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toprovar.models.autoencoder import InfinityAutoencoder, Level, psnr
from toprovar.models.config import AutoencoderConfig
from training.bsq import commitment, multi_scale_codes, straight_through
from training.bundles import part, read_bundle
from training.compiling import compile_blocks, compiled, uncompiled
from training.data.atlas import SpriteAtlas
from training.data.compose import compose
from training.data.scenes import sample_scenes
from training.initialise import initialise_autoencoder
from training.journal import save_sheet
from training.loop import load_part
from training.losses import reconstruction_loss, spikes
from training.optim import build_optimizers
from training.settings import TokenizerSettings
from training.stream import Batch, to_unit

_HELD_OUT_SEED = 20_001
_PIECE = 32


class TokenizerStage:
    """The autoencoder, its optimiser and its held-out scenes."""

    def __init__(
        self, settings: TokenizerSettings, atlas: SpriteAtlas, device: torch.device
    ) -> None:
        self.settings, self.atlas = settings, atlas
        run = settings.run
        self.model = InfinityAutoencoder.from_shape(settings.model)
        initialise_autoencoder(self.model, run.seed)
        self.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.modules: dict[str, nn.Module] = {"vae": self.model}
        self.optimizers = build_optimizers(self.model.named_parameters(), settings.optimizer)
        self.device, self.dtype = device, getattr(torch, run.compute)
        if run.compile:
            compile_blocks(self.model)
        self._compare = compiled(reconstruction_loss, run.compile)
        self._levels: list[Tensor] = []
        if settings.loss.spike:
            for level in self.model.decoder.levels:
                level.register_forward_hook(self._keep)

    def _keep(self, level: nn.Module, given: Any, made: Tensor) -> None:
        if isinstance(level, Level) and torch.is_grad_enabled():
            self._levels.append(made)

    def _encoded(self, images: Tensor) -> Tensor:
        folded = F.pixel_unshuffle(to_unit(images), self.settings.model.stem_patch)
        folded = folded.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, self.dtype, self.dtype != torch.float32):
            return self.model.encoder(folded).float()

    def _rebuilt(self, latent: Tensor, codes: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and the mean squared error, from codes fed straight through to the latent."""
        through = straight_through(latent, codes)
        with torch.autocast(self.device.type, self.dtype, self.dtype != torch.float32):
            folded = self.model.decoder(through.contiguous(memory_format=torch.channels_last))
        made = F.pixel_shuffle(folded.float(), self.settings.model.stem_patch)
        wanted = to_unit(images)
        weights = self.settings.loss
        loss = self._compare(made, wanted, commitment(latent, codes), weights)
        return loss, (made - wanted).detach().square().mean()

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        with nullcontext() if batch.view.compiled else uncompiled():
            latent = self._encoded(batch.images)
            codes = multi_scale_codes(latent, batch.view.schedule.grids)
            loss, error = self._rebuilt(latent, codes, batch.images)
        numbers = {"psnr": 10 * torch.log10(4 / error), "latent_std": latent.detach().std()}
        if self._levels:
            spike = spikes(self._levels)
            self._levels.clear()
            loss = loss + self.settings.loss.spike * spike
            numbers["spike"] = spike.detach()
        return loss, numbers

    @torch.no_grad()
    @uncompiled()
    def check(self, sheet: Path) -> dict[str, Any]:
        """PSNR of clamped reconstructions for every picture size, the worst corner's error in
        8-bit steps (a blot shows there), and a sheet of pairs."""
        found: dict[str, Any] = {}
        for view in {view.pn: view for view in self.settings.run.views}.values():
            count = self.settings.run.eval_images * 256**2 // view.size**2
            scenes = sample_scenes(max(count, 2), _HELD_OUT_SEED, "heldout")
            images = compose(scenes, self.atlas, view.size)
            rebuilt = torch.cat(
                [self._reconstruct(piece, view.schedule.grids) for piece in images.split(_PIECE)]
            )
            found[f"psnr_{view.size}"] = psnr(rebuilt, to_unit(images))
            found[f"corner_{view.size}"] = worst_corner(rebuilt, to_unit(images))
            if view is self.settings.run.views[0]:
                shown = min(self.settings.run.sheet_images, len(images))
                pairs = torch.stack([to_unit(images[:shown]), rebuilt[:shown]], 1).flatten(0, 1)
                save_sheet(sheet, pairs, 8)
        return found

    def _reconstruct(self, images: Tensor, grids: tuple[tuple[int, int], ...]) -> Tensor:
        with torch.autocast(self.device.type, self.dtype, self.dtype != torch.float32):
            latent = self.model.encode(to_unit(images)).float()
        return self.model.decode(multi_scale_codes(latent, grids))

    def describe(self) -> dict[str, Any]:
        return {"vae": self.settings.model.to_dict()}


def worst_corner(made: Tensor, wanted: Tensor) -> float:
    """Largest root mean square error of the four corners, an eighth of the side each, in 8-bit
    steps; pictures [B, 3, S, S] in [-1, 1]. Objects seldom reach into a corner."""
    side = made.shape[-1] // 8
    error = ((made.clamp(-1, 1) - wanted).float() * 127.5).square()
    rows = (error[..., :side, :], error[..., -side:, :])
    corners = [part for row in rows for part in (row[..., :side], row[..., -side:])]
    return max(corner.mean().sqrt().item() for corner in corners)


def load_autoencoder(folder: Path | str, device: torch.device) -> InfinityAutoencoder:
    """The averaged autoencoder of a run's bundle, frozen."""
    tensors, info = read_bundle(folder)
    model = InfinityAutoencoder.from_shape(AutoencoderConfig(**info["vae"]))
    load_part(model, part(tensors, "vae"))
    nn.Module.to(model, device)
    return model.requires_grad_(False).eval()
